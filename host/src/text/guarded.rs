//! Calls of the tokenizers library, which panics on some files that it has read: a panic becomes an error, and prints
//! nothing.

use std::{
    cell::Cell,
    panic::{self, AssertUnwindSafe},
    sync::Once,
};

thread_local! {
    /// Whether this thread is in such a call.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`, whose panic is its error.
pub(super) fn guarded<T>(work: impl FnOnce() -> tokenizers::Result<T>) -> tokenizers::Result<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !INSIDE.get() {
                before(panic);
            }
        }));
    });
    let outer = INSIDE.replace(true);
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    INSIDE.set(outer);
    done.unwrap_or_else(|_| Err("the tokenizers library panics on it: tokenizer.json is malformed".into()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;
    use tokenizers::Tokenizer;

    #[test]
    fn a_decoder_that_panics_is_an_error() {
        // It looks for more characters at a token's end than the token has.
        let decoder = json!({"type": "Strip", "content": "a", "start": 0, "stop": 9});
        let model = json!({"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "b"});
        let text = json!({"version": "1.0", "added_tokens": [], "decoder": decoder, "model": model}).to_string();
        let tokenizer = Tokenizer::from_bytes(text.as_bytes()).unwrap();
        assert_eq!(guarded(|| tokenizer.decode(&[1], false)).unwrap(), "b");
        let e = guarded(|| tokenizer.decode(&[0], false)).unwrap_err();
        assert!(e.to_string().ends_with("tokenizer.json is malformed"), "{e}");
        assert!(!INSIDE.get());
    }
}
