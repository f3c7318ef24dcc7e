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
    use ::parquet::{
        errors::ParquetError,
        file::reader::{FileReader, SerializedFileReader},
    };
    use std::io::{self, BufWriter, Seek, Write};
    let damaged = |e: ParquetError| {
        Error::new(Code::DataParquet, format!("{}: cannot read the Parquet file", path.display()))
            .hint("files compressed by snappy or zstd are read; check that the download is complete")
            .caused_by(e)
    };
    let spool = |e: io::Error| io_error(&std::env::temp_dir(), "write a temporary file to", e);
    let mut out = BufWriter::with_capacity(1 << 20, tempfile::tempfile().map_err(spool)?);
    let reader = SerializedFileReader::new(file).map_err(damaged)?;
    let schema = reader.metadata().file_metadata().schema_descr().root_schema_ptr();
    for (number, row) in reader.into_iter().enumerate() {
        let mut json = row.map_err(damaged)?.to_json_value();
        read_json(&mut json, &schema).map_err(|e| e.at(format!("{}, row {}", path.display(), number + 1)))?;
        serde_json::to_writer(&mut out, &json)
            .map_err(io::Error::from)
            .and_then(|()| out.write_all(b"\n"))
            .map_err(spool)?;
    }
    let mut file = out.into_inner().map_err(|e| spool(e.into_error()))?;
    file.rewind().map_err(spool)?;
    Ok(file)
}

/// Puts what a column of JSON says in the place of its text.
#[cfg(feature = "parquet")]
fn read_json(value: &mut serde_json::Value, of: &::parquet::schema::types::Type) -> Result<()> {
    use ::parquet::basic::ConvertedType;
    use serde_json::Value;
    let kind = of.get_basic_info().converted_type();
    match value {
        Value::String(text) if kind == ConvertedType::JSON => {
            *value = serde_json::from_str(text).map_err(|e| {
                Error::new(Code::DataParquet, format!("the column `{}` has a text that is not JSON", of.name()))
                    .hint("write the file again, with such texts as strings")
                    .caused_by(e)
            })?;
            Ok(())
        }
        Value::Array(items) => {
            // Of a list, what is repeated is a group around its element, but in files of old writers.
            let repeated = if kind == ConvertedType::LIST { &*of.get_fields()[0] } else { of };
            let wrapped = kind == ConvertedType::LIST && repeated.is_group() && repeated.get_fields().len() == 1;
            let element = if wrapped { &*repeated.get_fields()[0] } else { repeated };
            items.iter_mut().try_for_each(|item| read_json(item, element))
        }
        Value::Object(map) if [ConvertedType::MAP, ConvertedType::MAP_KEY_VALUE].contains(&kind) => {
            let entry = &of.get_fields()[0];
            map.values_mut().try_for_each(|value| read_json(value, &entry.get_fields()[1]))
        }
        Value::Object(map) if of.is_group() => of
            .get_fields()
            .iter()
            .try_for_each(|field| map.get_mut(field.name()).map_or(Ok(()), |value| read_json(value, field))),
        _ => Ok(()),
    }
}
