#![allow(clippy::unwrap_used)]
use super::{super::tests::library, *};
use crate::library::ABI_VERSION as VERSION;

#[test]
fn what_was_built_for_something_else_is_refused() {
    let refused = |change: fn(&mut Metadata)| {
        let mut metadata = library();
        change(&mut metadata);
        [abi, fits_target, processor].iter().try_for_each(|check| check(&metadata).map(drop)).map_err(|e| e.to_string())
    };
    assert_eq!(refused(|_| ()), Ok(()));
    let e = refused(|m| m.abi = "2.0.0".into()).unwrap_err();
    assert_eq!(e, format!("built for plugin ABI 2.0.0, this program has {VERSION}"));
    let e = refused(|m| m.target = "x86_64-linux-musl".into()).unwrap_err();
    assert!(e.starts_with("built for x86_64-linux-musl, this program for "), "{e}");
}
