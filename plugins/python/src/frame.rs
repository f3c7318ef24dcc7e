//! Frames, as both sides of the wire send them: the length of a header (u32, little-endian), the header (a JSON
//! object), and the bytes of the arrays that the header's `arrays` lists as `[type, shape]`.

use ldalign_sdk::{Error, OwnedSample, Sample};
use serde_json::{Value, json};

/// Version of the protocol, in the first frame of either side.
pub const PROTOCOL: u64 = 1;

/// The most bytes of a header, and of what follows it: more is no frame of ours.
const LONGEST: (usize, usize) = (1 << 28, 1 << 32);

/// An array to send.
pub enum Array<'a> {
    /// Numbers of a shape.
    F32(&'a [f32], Vec<usize>),
    /// Token ids.
    U32(&'a [u32]),
    /// A state.
    U8(&'a [u8]),
}

/// The bytes of a frame.
pub fn frame(mut head: Value, arrays: &[Array<'_>]) -> Vec<u8> {
    let about = |array: &Array<'_>| match array {
        Array::F32(_, shape) => json!(["f32", shape]),
        Array::U32(ids) => json!(["u32", [ids.len()]]),
        Array::U8(bytes) => json!(["u8", [bytes.len()]]),
    };
    head["arrays"] = arrays.iter().map(about).collect();
    let head = head.to_string();
    let mut bytes = (head.len() as u32).to_le_bytes().to_vec();
    bytes.extend(head.bytes());
    for array in arrays {
        match array {
            Array::F32(numbers, _) => bytes.extend(numbers.iter().flat_map(|x| x.to_le_bytes())),
            Array::U32(ids) => bytes.extend(ids.iter().flat_map(|x| x.to_le_bytes())),
            Array::U8(state) => bytes.extend(*state),
        }
    }
    bytes
}

/// An array that has come.
#[derive(Debug)]
pub struct Received {
    /// `f32`, `u32` or `u8`.
    kind: String,
    /// Sizes of its dimensions.
    pub shape: Vec<usize>,
    /// Its numbers.
    pub bytes: Vec<u8>,
}

impl Received {
    fn of(about: &Value) -> Option<(Self, usize)> {
        let kind = about[0].as_str().filter(|kind| ["f32", "u32", "u8"].contains(kind))?.to_owned();
        let sizes = about[1].as_array()?.iter().map(|n| usize::try_from(n.as_u64()?).ok());
        let shape = sizes.collect::<Option<Vec<usize>>>()?;
        let each = if kind == "u8" { 1 } else { 4 };
        let bytes = shape.iter().try_fold(each, |n: usize, size| n.checked_mul(*size))?;
        Some((Self { kind, shape, bytes: Vec::new() }, bytes))
    }
    fn words<T>(&self, kind: &str, word: fn([u8; 4]) -> T) -> Result<Vec<T>, Error> {
        if self.kind != kind {
            return Err(Error::failed(format!("an array of {} came in place of one of {kind}", self.kind)));
        }
        Ok(self.bytes.as_chunks::<4>().0.iter().map(|bytes| word(*bytes)).collect())
    }
    /// Its numbers.
    pub fn f32s(&self) -> Result<Vec<f32>, Error> {
        self.words("f32", f32::from_le_bytes)
    }
    fn u32s(&self) -> Result<Vec<u32>, Error> {
        self.words("u32", u32::from_le_bytes)
    }
}

/// A frame that has come.
#[derive(Debug, Default)]
pub struct Frame {
    /// A JSON object.
    pub head: Value,
    /// In the order of the header.
    pub arrays: Vec<Received>,
}

impl Frame {
    /// The array of a number.
    pub fn array(&self, i: usize) -> Result<&Received, Error> {
        self.arrays.get(i).ok_or_else(|| Error::failed(format!("a message lacks its array {i}: {}", self.head)))
    }
}

/// Bytes that have come, until they are a frame.
#[derive(Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    /// The header once it is there, and how many bytes each array has.
    begun: Option<(Frame, Vec<usize>)>,
}

impl Inbox {
    /// Adds bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }
    /// The next frame, once it is whole.
    ///
    /// # Errors
    /// What came is none, such as text that was printed.
    pub fn pop(&mut self) -> Result<Option<Frame>, Error> {
        if self.begun.is_none() {
            let Some((size, rest)) = self.bytes.split_first_chunk::<4>() else { return Ok(None) };
            let size_of_head = u32::from_le_bytes(*size) as usize;
            if size_of_head > LONGEST.0 {
                return Err(none(size));
            }
            let Some(head) = rest.get(..size_of_head) else { return Ok(None) };
            let head: Value = serde_json::from_slice(head).map_err(|_| none(head))?;
            let about = head["arrays"].as_array().cloned().unwrap_or_default();
            let arrays = about.iter().map(Received::of).collect::<Option<Vec<_>>>();
            let (arrays, sizes): (Vec<_>, Vec<usize>) = arrays.ok_or_else(|| none(rest))?.into_iter().unzip();
            if !head.is_object() || sizes.iter().any(|size| *size > LONGEST.1) {
                return Err(none(rest));
            }
            self.bytes.drain(..4 + size_of_head);
            self.begun = Some((Frame { head, arrays }, sizes));
        }
        if self.begun.as_ref().is_none_or(|(_, sizes)| self.bytes.len() < sizes.iter().sum()) {
            return Ok(None);
        }
        let Some((mut frame, sizes)) = self.begun.take() else { return Ok(None) };
        for (array, size) in frame.arrays.iter_mut().zip(sizes) {
            array.bytes = self.bytes.drain(..size).collect();
        }
        Ok(Some(frame))
    }
}

fn none(begin: &[u8]) -> Error {
    let begin = String::from_utf8_lossy(&begin[..begin.len().min(60)]).into_owned();
    Error::failed(format!(
        "what came on its stdout is no message of the protocol, but begins with {begin:?}: print to stderr"
    ))
}

/// Samples in a header, and their ids.
pub fn samples_to(samples: &[Sample<'_>]) -> (Value, Vec<u32>) {
    let about = |s: &Sample<'_>| json!([s.prompt, s.response, s.prompt_ids.len(), s.response_ids.len()]);
    let ids = samples.iter().flat_map(|s| [s.prompt_ids, s.response_ids]).flatten().copied().collect();
    (samples.iter().map(about).collect(), ids)
}

/// Samples of a frame.
pub fn samples_from(frame: &Frame) -> Result<Vec<OwnedSample>, Error> {
    let ids = frame.array(0)?.u32s()?;
    let mut rest = ids.as_slice();
    let mut take = |n: &Value| {
        let (taken, after) = rest.split_at_checked(usize::try_from(n.as_u64()?).ok()?)?;
        rest = after;
        Some(taken.to_vec())
    };
    let text = |text: &Value| text.as_str().map(str::to_owned);
    let mut sample = |s: &Value| {
        Some(OwnedSample {
            prompt: text(&s[0])?,
            response: text(&s[1])?,
            prompt_ids: take(&s[2])?,
            response_ids: take(&s[3])?,
        })
    };
    let samples = frame.head["samples"].as_array().and_then(|all| all.iter().map(&mut sample).collect());
    samples.filter(|_| rest.is_empty()).ok_or_else(|| Error::input("samples whose texts, counts and ids do not fit"))
}
