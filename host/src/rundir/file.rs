//! Typed paths: a JSON file of a run by its path and the type of what it holds, with its one writer and its one strict
//! reader. What work goes on by, before anything else says that it is whole, is a [`SealedFile`].

use crate::{Result, files};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{
    borrow::Borrow,
    marker::PhantomData,
    path::{Path, PathBuf},
};

/// A file, there or not, whose content is of a kind: [`Json`] or [`Lines`].
pub struct RunFile<Content> {
    path: PathBuf,
    content: PhantomData<fn() -> Content>,
}

/// One `T` as JSON, in a form.
pub struct Json<T, F>(PhantomData<(T, F)>);

/// A form of a JSON file: how it is read and written.
pub trait Form {
    /// Reads it. Fails with `run/damaged` where it is not what was written, as far as the form can tell.
    fn read<T: DeserializeOwned>(path: &Path) -> Result<T>;
    /// Writes it, whole or not at all.
    fn write<T: Serialize>(path: &Path, value: &T) -> Result<()>;
}

/// JSON and no more.
pub struct Plain;

/// A map with a [checksum](files::seal()), by which it says of itself whether it was damaged.
pub struct Checked;

impl Form for Plain {
    fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
        files::read_json(path)
    }
    fn write<T: Serialize>(path: &Path, value: &T) -> Result<()> {
        files::write_json(path, value)
    }
}

impl Form for Checked {
    fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
        files::read_sealed(path)
    }
    fn write<T: Serialize>(path: &Path, value: &T) -> Result<()> {
        files::write_sealed(path, value)
    }
}

/// JSON lines, every one a `T`.
pub struct Lines<T>(PhantomData<T>);

/// A file that holds one `T` as JSON.
pub type JsonFile<T> = RunFile<Json<T, Plain>>;

/// A file that holds one `T` as JSON with a [checksum](files::seal()).
pub type SealedFile<T> = RunFile<Json<T, Checked>>;

/// A file of JSON lines, every one a `T`.
pub type LinesFile<T> = RunFile<Lines<T>>;

impl<Content> RunFile<Content> {
    /// The file at `path`.
    pub fn new(path: PathBuf) -> Self {
        Self { path, content: PhantomData }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same, as a stage names what it wrote.
    pub fn into_path(self) -> PathBuf {
        self.path
    }

    /// Whether it is there.
    pub fn exists(&self) -> bool {
        self.path.exists()
    }
}

impl<T> JsonFile<T> {
    /// The same file as whatever JSON is in it: for readers that take files of other versions too.
    pub fn untyped(self) -> JsonFile<Value> {
        RunFile::new(self.path)
    }
}

impl<T, F: Form> RunFile<Json<T, F>> {
    /// What it holds. Fails with `run/damaged` where that is not a `T`, or not what was written.
    pub fn read(&self) -> Result<T>
    where
        T: DeserializeOwned,
    {
        F::read(&self.path)
    }

    /// Writes it, whole or not at all.
    pub fn write(&self, value: &T) -> Result<()>
    where
        T: Serialize,
    {
        F::write(&self.path, value)
    }
}

impl<T> LinesFile<T> {
    /// Its lines, read one at a time. Fails with `run/damaged` at one that is not a `T`.
    pub fn lines(&self) -> Result<impl Iterator<Item = Result<T>> + use<T>>
    where
        T: DeserializeOwned,
    {
        files::read_lines(&self.path)
    }

    /// Writes lines as they come, whole or not at all. Fails with the first line that does, and leaves the file as it
    /// was.
    pub fn write<B: Borrow<T>>(&self, mut lines: impl Iterator<Item = Result<B>>) -> Result<()>
    where
        T: Serialize,
    {
        files::write_stoppable(&self.path, |out| {
            lines.try_for_each(|line| {
                serde_json::to_writer(&mut *out, line?.borrow())?;
                Ok(out.write_all(b"\n")?)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Code, Error};

    #[test]
    fn lines_that_fail_leave_the_file_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let file = LinesFile::<u32>::new(dir.path().join("n.jsonl"));
        file.write([1, 2].into_iter().map(Ok)).unwrap();
        let broken = [Ok(3), Err(Error::new(Code::DataRow, "line 7"))];
        assert_eq!(file.write(broken.into_iter()).unwrap_err().code(), Code::DataRow);
        assert_eq!(file.lines().unwrap().collect::<Result<Vec<_>>>().unwrap(), [1, 2]);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        let other = LinesFile::<String>::new(file.into_path());
        assert_eq!(other.lines().unwrap().next().unwrap().unwrap_err().code(), Code::RunDamaged);
    }

    #[test]
    fn a_json_file_is_read_as_what_was_written_or_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = JsonFile::<Vec<u32>>::new(dir.path().join("n.json"));
        assert!(!file.exists());
        file.write(&vec![1, 2]).unwrap();
        assert_eq!(file.read().unwrap(), [1, 2]);
        assert_eq!(JsonFile::<bool>::new(file.path().to_owned()).read().unwrap_err().code(), Code::RunDamaged);
        assert_eq!(file.untyped().read().unwrap(), serde_json::json!([1, 2]));
    }

    #[test]
    fn a_sealed_file_is_what_was_written_or_refused() {
        type Map = std::collections::BTreeMap<String, f32>;
        let dir = tempfile::tempdir().unwrap();
        let file = SealedFile::<Map>::new(dir.path().join("n.json"));
        let map = Map::from([("a".to_owned(), 0.7), ("b".to_owned(), f32::MIN_POSITIVE)]);
        file.write(&map).unwrap();
        assert_eq!(file.read().unwrap(), map);
        let text = std::fs::read_to_string(file.path()).unwrap();
        assert!(text.contains("0.7") && text.ends_with("\"\n}\n"), "{text}");
        std::fs::write(file.path(), text.replace("0.7", "0.8")).unwrap();
        assert_eq!(file.read().unwrap_err().code(), Code::RunDamaged);
    }
}
