//! Parquet files as JSON lines in an unnamed temporary file, row group by row group, which is then read as any
//! JSONL file.

use crate::{Code, Error, Result};
use std::{fs::File, path::Path};

/// The rows of a Parquet file, one JSON object a line.
#[cfg(not(feature = "parquet"))]
pub fn as_json_lines(path: &Path, _file: File) -> Result<File> {
    Err(Error::new(
        Code::DataParquet,
        format!("{} is a Parquet file, and this build cannot read those", path.display()),
    )
    .hint("build with --features parquet, or convert the file to JSONL"))
}

/// The rows of a Parquet file, one JSON object a line.
#[cfg(feature = "parquet")]
pub fn as_json_lines(path: &Path, file: File) -> Result<File> {
    use crate::files::io_error;
    use ::parquet::{errors::ParquetError, file::reader::SerializedFileReader};
    use std::io::{self, BufWriter, Seek, Write};
    let damaged = |e: ParquetError| {
        Error::new(Code::DataParquet, format!("{}: cannot read the Parquet file", path.display()))
            .hint("files compressed by snappy or zstd are read; check that the download is complete")
            .caused_by(e)
    };
    let spool = |e: io::Error| io_error(&std::env::temp_dir(), "write a temporary file to", e);
    let mut out = BufWriter::with_capacity(1 << 20, tempfile::tempfile().map_err(spool)?);
    for row in SerializedFileReader::new(file).map_err(damaged)? {
        let json = row.map_err(damaged)?.to_json_value();
        serde_json::to_writer(&mut out, &json)
            .map_err(io::Error::from)
            .and_then(|()| out.write_all(b"\n"))
            .map_err(spool)?;
    }
    let mut file = out.into_inner().map_err(|e| spool(e.into_error()))?;
    file.rewind().map_err(spool)?;
    Ok(file)
}
