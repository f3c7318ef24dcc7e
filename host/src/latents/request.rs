//! What a plugin asks of the policy, checked before any work, and cut into the parts of its buffers.

use crate::{Code, Error, Result};
use ldalign_sdk::Sample;

/// Code of the errors of services that were asked for what cannot be.
pub(super) const FAULT: Code = Code::PluginHiddenStates;

pub(super) fn tokens(sample: &Sample<'_>) -> usize {
    sample.prompt_ids.len() + sample.response_ids.len()
}

/// Cuts the first `n` numbers off a slice.
pub(super) fn take<'a>(rest: &mut &'a mut [f32], n: usize) -> &'a mut [f32] {
    let (now, later) = std::mem::take(rest).split_at_mut(n);
    *rest = later;
    now
}

pub(super) fn check_len(what: &str, found: usize, needed: usize) -> Result<()> {
    match found == needed {
        true => Ok(()),
        false => Err(Error::new(
            FAULT,
            format!("the {what} of these samples are {needed} numbers, there is room for {found}"),
        )),
    }
}
