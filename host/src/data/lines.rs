//! A data file's lines, one JSON object each, whatever the file comes packed in.

use super::{fields::Json, parquet};
use crate::{
    Code, Error, Result,
    config::DataConfig,
    files::{self, io_error},
};
use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek},
    os::unix::fs::FileExt,
    path::Path,
};

/// The most bytes of a row. Tokenizing takes some hundred times as much.
const LONGEST_LINE: u64 = 8 << 20;

/// A file's rows, one JSON object a line.
pub struct Lines<'a> {
    config: &'a DataConfig,
    /// The file itself, or its rows as JSON lines.
    pub file: File,
    /// What a row is called: a line, or a row of Parquet.
    unit: &'static str,
    /// Of the file, where that is not what is read.
    hash: Option<String>,
}

impl<'a> Lines<'a> {
    pub fn open(config: &'a DataConfig) -> Result<Self> {
        let path = &config.path;
        let fail = |e| io_error(path, "read", e);
        let file = files::open(path).map_err(fail)?;
        let mut head = [0; 4];
        let length = file.read_at(&mut head, 0).map_err(fail)?;
        let rows = match &head[..length] {
            b"PAR1" => parquet::as_json_lines(path, file)?,
            [0x1f, 0x8b, ..] => spool(path, MultiGzDecoder::new(file))?,
            [0x28, 0xb5, 0x2f, 0xfd] => spool(path, zstd::Decoder::new(file).map_err(fail)?)?,
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [b'{', 0, ..] | [0, b'{', ..] => {
                return Err(Error::new(Code::DataJson, format!("{} is UTF-16, expected UTF-8", path.display()))
                    .hint("convert it: iconv -f UTF-16 -t UTF-8 FILE > rows.jsonl"));
            }
            b"PK\x03\x04" => {
                let what = format!("{} is a ZIP archive, expected JSON lines", path.display());
                return Err(
                    Error::new(Code::DataJson, what).hint("unpack it; files of gzip and zstd are read as they are")
                );
            }
            _ => return Ok(Self { config, file, unit: "line", hash: None }),
        };
        let unit = if head == *b"PAR1" { "row" } else { "line" };
        Ok(Self { config, file: rows, unit, hash: Some(files::sha256_file(path)?) })
    }

    /// Hands each wanted row to `each`, with the byte at which its line begins and the line's number. Returns the
    /// file's SHA-256.
    pub fn scan(&self, mut each: impl FnMut(Json, u64, u32) -> Result<()>) -> Result<String> {
        let path = &self.config.path;
        let (mut hash, mut bytes) = (Sha256::new(), Vec::new());
        let mut reader = BufReader::with_capacity(1 << 20, &self.file);
        let (mut offset, mut line, mut rows) = (0u64, 0u32, 0);
        loop {
            bytes.clear();
            let n = (&mut reader).take(LONGEST_LINE + 1).read_until(b'\n', &mut bytes);
            let n = n.map_err(|e| io_error(path, "read", e))? as u64;
            if n == 0 {
                break;
            }
            if n > LONGEST_LINE {
                let what =
                    format!("{}, {} {}: longer than {} MiB", path.display(), self.unit, line + 1, LONGEST_LINE >> 20);
                return Err(Error::new(Code::DataRow, what).hint("split the row; or is the file no JSON lines at all?"));
            }
            hash.update(&bytes);
            line += 1;
            let json = content(&bytes, offset);
            if (self.config.max_rows == 0 || rows < self.config.max_rows) && !json.is_empty() {
                rows += 1;
                let place = || format!("{}, {} {line}", path.display(), self.unit);
                let row = serde_json::from_slice(json).map_err(|e| not_json(&place(), json, &e))?;
                each(row, offset, line).map_err(|e| e.at(place()))?;
            }
            offset += n;
        }
        Ok(self.hash.clone().unwrap_or_else(|| files::hex(&hash.finalize())))
    }
}

/// A line without its end and without the byte-order mark that some editors put at the start of a file.
pub fn content(line: &[u8], offset: u64) -> &[u8] {
    let line = line.trim_ascii_end();
    if offset == 0 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line }
}

fn not_json(place: &str, json: &[u8], e: &serde_json::Error) -> Error {
    if e.is_data() {
        let found = if json.trim_ascii_start().starts_with(b"[") { "a list" } else { "another value" };
        return Error::new(Code::DataJson, format!("{place}: expected a JSON object, found {found}"))
            .hint("one object a line; a JSON array of rows is split by: jq -c '.[]' FILE > rows.jsonl");
    }
    let what = e.to_string();
    let what = what.split(" at line ").next().unwrap_or_default();
    let err = Error::new(Code::DataJson, format!("{place}, column {}: not valid JSON: {what}", e.column()));
    if json.trim_ascii_start().first().is_some_and(|c| !b"{[\"".contains(c)) && json.contains(&b',') {
        return err.hint(
            "is it CSV? every line is one JSON object; convert it: python3 -c 'import csv, json, sys; \
                         [print(json.dumps(r)) for r in csv.DictReader(sys.stdin)]' < FILE > rows.jsonl",
        );
    }
    match json.trim_ascii() {
        b"[" | b"{" => err.hint("one object a line; pretty-printed JSON is flattened by: jq -c . FILE > rows.jsonl"),
        _ => err.hint("correct the line; every line is one complete JSON object"),
    }
}

/// What a file unpacks to, in an unnamed temporary file.
fn spool(path: &Path, mut unpacked: impl Read) -> Result<File> {
    let fail = |e| io_error(&std::env::temp_dir(), "write a temporary file to", e);
    let mut file = tempfile::tempfile().map_err(fail)?;
    io::copy(&mut unpacked, &mut file).map_err(|e| {
        Error::new(Code::DataPacked, format!("{} cannot be unpacked", path.display()))
            .hint("check that the download is complete, and that there is room for a temporary file")
            .caused_by(e)
    })?;
    file.rewind().map_err(fail)?;
    Ok(file)
}
