//! The format that TensorBoard reads: framed records with checksums, each a protobuf `Event` with scalars.

/// A file's first record says what follows.
const VERSION: &str = "brain.Event:2";

/// An event file in the making.
pub struct Events(Vec<u8>);

impl Events {
    /// A file without scalars.
    pub fn new() -> Self {
        let mut events = Self(vec![]);
        events.record(&bytes_field(3, VERSION.as_bytes()));
        events
    }

    /// Adds scalars (tag, value), if there are any, at a step; `seconds` is when, on a clock that starts where the
    /// caller likes.
    pub fn add<'a>(&mut self, seconds: f64, step: u64, scalars: impl Iterator<Item = (&'a str, f64)>) {
        let mut summary = vec![];
        for (tag, value) in scalars {
            let mut scalar = bytes_field(1, tag.as_bytes());
            scalar.push(2 << 3 | 5);
            scalar.extend((value as f32).to_le_bytes());
            summary.extend(bytes_field(1, &scalar));
        }
        if summary.is_empty() {
            return;
        }
        let mut event = vec![];
        // What is zero is left out, as protobuf has it.
        if seconds != 0.0 {
            event.push(1 << 3 | 1);
            event.extend(seconds.to_le_bytes());
        }
        if step != 0 {
            event.push(2 << 3);
            event.extend(varint(step));
        }
        event.extend(bytes_field(5, &summary));
        self.record(&event);
    }

    /// The file's bytes.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }

    fn record(&mut self, event: &[u8]) {
        let length = (event.len() as u64).to_le_bytes();
        for part in [&length[..], event] {
            self.0.extend(part);
            self.0.extend(masked(crc32c(part)).to_le_bytes());
        }
    }
}

/// A field of bytes, a string or a message.
fn bytes_field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    field.extend(varint(bytes.len() as u64));
    field.extend(bytes);
    field
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = vec![];
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// CRC-32C (Castagnoli), bit by bit: event files are small.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 })
    })
}

/// The checksum as the format stores it, so that a checksum of data that holds checksums is no special case.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_rfc_3720() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!([crc32c(&[0; 32]), crc32c(&[0xff; 32])], [0x8a91_36aa, 0x62a8_ab43]);
    }

    /// The fixture is written and read back by Python's tensorboard: tests/fixtures/make_tfevents.py.
    #[test]
    fn a_file_is_the_one_that_tensorboard_writes() {
        let mut events = Events::new();
        events.add(0.0, 0, [("eval/nll", 2.5)].into_iter());
        events.add(1.5, 1, [("train/loss", 0.625), ("train/rewards/chosen", -0.25)].into_iter());
        events.add(86_400.125, 300, [("train/loss", f64::from(f32::MIN_POSITIVE)), ("ä", 0.0)].into_iter());
        let expected: &[u8] = include_bytes!("../../../tests/fixtures/tensorboard/events.out.tfevents.0");
        assert_eq!(events.finish(), expected);
    }
}
