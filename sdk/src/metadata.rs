//! The metadata section: JSON written by constant evaluation, so that it can be read from the file without running
//! code.

use crate::export::{Library, Provided};
use ldalign_abi as abi;

/// The kind that turns prompt and response into a latent.
pub const ENCODER: &str = "encoder";
/// The kind that turns two latents into a distance.
pub const DISTANCE: &str = "distance";
/// The kind that turns distances into weights.
pub const SCHEDULE: &str = "schedule";
/// All kinds of plugins, by their names in metadata, calls, configs and file names.
pub const KINDS: [&str; 3] = [ENCODER, DISTANCE, SCHEDULE];

/// Room while writing; the section itself is as long as its text.
const CAPACITY: usize = 16 << 10;

/// Where the library runs, in parts: `x86_64-linux-gnu`.
pub const TARGET: [&str; 4] = [
    std::env::consts::ARCH,
    "-",
    std::env::consts::OS,
    if cfg!(target_env = "gnu") {
        "-gnu"
    } else if cfg!(target_env = "musl") {
        "-musl"
    } else {
        ""
    },
];

/// A JSON text under construction in a constant.
pub struct Json {
    bytes: [u8; CAPACITY],
    len: usize,
}

impl Json {
    /// Length of the text.
    #[allow(clippy::len_without_is_empty)] // never empty
    pub const fn len(&self) -> usize {
        self.len
    }
    /// The text, `N` being [`len`](Self::len).
    pub const fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut out = [0; N];
        out.copy_from_slice(self.bytes.split_at(N).0);
        out
    }
    const fn byte(&mut self, b: u8) {
        assert!(self.len < CAPACITY, "the plugin's metadata is longer than 16 KiB: shorten the summaries");
        self.bytes[self.len] = b;
        self.len += 1;
    }
    const fn raw(&mut self, text: &str) {
        let mut i = 0;
        while i < text.len() {
            self.byte(text.as_bytes()[i]);
            i += 1;
        }
    }
    const fn string(&mut self, text: &str) {
        self.byte(b'"');
        let mut i = 0;
        while i < text.len() {
            let b = text.as_bytes()[i];
            match b {
                b'"' | b'\\' => {
                    self.byte(b'\\');
                    self.byte(b);
                }
                0..0x20 => {
                    self.raw("\\u00");
                    self.byte(b'0' + (b >> 4));
                    self.byte(b"0123456789abcdef"[(b & 15) as usize]);
                }
                _ => self.byte(b),
            }
            i += 1;
        }
        self.byte(b'"');
    }
    const fn field(&mut self, key: &str, value: &str) {
        self.string(key);
        self.byte(b':');
        self.string(value);
        self.byte(b',');
    }
    const fn list_comma(&mut self) {
        if self.bytes[self.len - 1] != b'[' && self.bytes[self.len - 1] != b'{' {
            self.byte(b',');
        }
    }
    const fn provides<Object>(&mut self, kind: &str, all: &[Provided<Object>]) {
        let mut i = 0;
        while i < all.len() {
            let one = &all[i];
            assert!(is_id(one.id), "a plugin's ID must be made of a-z, 0-9 and `-`");
            let mut before = 0;
            while before < i {
                assert!(!same(all[before].id, one.id), "two plugins of one kind have the same ID");
                before += 1;
            }
            self.list_comma();
            self.byte(b'{');
            self.field("kind", kind);
            self.field("id", one.id);
            self.field("summary", one.summary);
            self.raw("\"properties\":{");
            let mut p = 0;
            while p < one.properties.len() {
                self.list_comma();
                self.string(one.properties[p].0);
                self.raw(if one.properties[p].1 { ":true" } else { ":false" });
                p += 1;
            }
            self.raw("}}");
            i += 1;
        }
    }
}

const fn is_id(id: &str) -> bool {
    let mut i = 0;
    while i < id.len() {
        if !matches!(id.as_bytes()[i], b'a'..=b'z' | b'0'..=b'9' | b'-') {
            return false;
        }
        i += 1;
    }
    i > 0
}

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut i = 0;
    while i < a.len() && i < b.len() && a[i] == b[i] {
        i += 1;
    }
    i == a.len() && i == b.len()
}

/// The metadata of a library whose package is called `name`; its layout is described in [`ldalign_abi`].
pub const fn describe<L: Library>(name: &str, version: &str, license: &str) -> Json {
    const { assert!(abi::METADATA_SCHEMA == 1) };
    let mut json = Json { bytes: [0; CAPACITY], len: 0 };
    json.raw("{\"schema\":1,");
    json.field("name", name);
    json.field("version", version);
    json.field("abi", abi::VERSION);
    json.field("sdk", env!("CARGO_PKG_VERSION"));
    json.field("license", license);
    json.raw("\"target\":\"");
    let mut part = 0;
    while part < TARGET.len() {
        json.raw(TARGET[part]);
        part += 1;
    }
    // Instructions the compiler was allowed to use without asking the processor first.
    json.raw("\",\"cpu_features\":[");
    macro_rules! features {
        ($($name:literal),*) => { $(if cfg!(target_feature = $name) { json.list_comma(); json.string($name); })* };
    }
    features!("sse4.2", "avx", "avx2", "fma", "bmi2", "avx512f", "avx512bw", "avx512vl", "sve");
    json.raw("],\"provides\":[");
    json.provides(ENCODER, L::ENCODERS);
    json.provides(DISTANCE, L::DISTANCES);
    json.provides(SCHEDULE, L::SCHEDULES);
    json.raw("]}");
    json
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn strings_are_escaped_as_json_wants() {
        const TEXT: &str = "a \"quote\", a \\, a\ttab, a\u{1f}, and ü";
        let mut json = Json { bytes: [0; CAPACITY], len: 0 };
        json.string(TEXT);
        let read: String = serde_json::from_slice(&json.bytes[..json.len]).unwrap();
        assert_eq!(read, TEXT);
    }

    #[test]
    fn ids_are_file_names_and_keys() {
        assert!(is_id("chord-length2"));
        for bad in ["", "Chord", "a_b", "a/b", "ä"] {
            assert!(!is_id(bad), "{bad}");
        }
        assert!(same("ab", "ab") && !same("ab", "abc") && !same("ab", "ba") && !same("", "a"));
    }
}
