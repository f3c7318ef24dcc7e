//! The frozen binary boundary between the LD-Align host and its plugins.
#![allow(non_camel_case_types, non_local_definitions)]

use abi_stable::StableAbi;

/// Why a plugin call failed: an open set, so a newtype and never a Rust enum.
#[repr(transparent)]
#[derive(StableAbi, Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorCode(pub u32);

impl ErrorCode {
    /// The options are wrong.
    pub const OPTIONS: Self = Self(1);
    /// The input cannot be worked on.
    pub const INPUT: Self = Self(2);
    /// The plugin panicked; the instance is poisoned.
    pub const PANIC: Self = Self(3);
    /// The plugin does not provide what was asked for.
    pub const UNSUPPORTED: Self = Self(4);
    /// A saved state does not fit.
    pub const STATE: Self = Self(5);
    /// The host asked for a stop.
    pub const CANCELLED: Self = Self(6);
    /// Anything else.
    pub const FAILED: Self = Self(7);
}
