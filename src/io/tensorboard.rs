//! TensorBoard's event files: records of events, here with scalars.
//!
//! An event is a message `Event` of
//! <https://github.com/tensorflow/tensorboard/tree/master/tensorboard/compat/proto>, encoded as
//! <https://protobuf.dev/programming-guides/encoding/> says.

use std::time::{SystemTime, UNIX_EPOCH};

/// `SessionLog.START`.
const SESSION_START: u64 = 1;

/// Returns the first record of a file.
pub fn header() -> Vec<u8> {
    record(Message::now().bytes(3, b"brain.Event:2"))
}

/// Returns the record of a run that begins or resumes after `step` updates: TensorBoard ignores
/// earlier records of later steps.
pub fn start(step: usize) -> Vec<u8> {
    let session_log = Message::default().integer(1, SESSION_START);
    // Earlier records of this very step are kept.
    let event = Message::now().integer(2, step as u64 + 1);
    record(event.bytes(7, &session_log.0))
}

/// Returns the record of scalars, by their tags, after `step` updates.
pub fn scalars(step: usize, values: &[(&str, f64)]) -> Vec<u8> {
    let summary = values
        .iter()
        .fold(Message::default(), |summary, &(tag, value)| {
            let value = Message::default()
                .bytes(1, tag.as_bytes())
                .float(2, value as f32);
            summary.bytes(1, &value.0)
        });
    let event = Message::now().integer(2, step as u64);
    record(event.bytes(5, &summary.0))
}

/// A TFRecord: the length and the event, each with its checksum.
fn record(event: Message) -> Vec<u8> {
    let event = event.0;
    let length = (event.len() as u64).to_le_bytes();
    let sums = [&length[..], &event].map(|part| masked_crc32c(part).to_le_bytes());
    [&length[..], &sums[0], &event, &sums[1]].concat()
}

/// CRC-32C, rotated and shifted, since checksums of data that contain checksums are weak
/// (<https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details>).
fn masked_crc32c(bytes: &[u8]) -> u32 {
    let bit = |crc: u32, _| crc >> 1 ^ 0x82f6_3b78 & (crc & 1).wrapping_neg();
    let byte = |crc: u32, &byte: &u8| (0..8).fold(crc ^ u32::from(byte), bit);
    let crc = !bytes.iter().fold(!0, byte);
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The fields of a message of protocol buffers, encoded.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    /// An event with its field `wall_time`.
    fn now() -> Message {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let seconds = now.unwrap_or_default().as_secs_f64();
        Message::default().fixed(1, 1, &seconds.to_le_bytes())
    }

    fn integer(self, field: u64, value: u64) -> Message {
        self.varint(field << 3).varint(value)
    }

    fn float(self, field: u64, value: f32) -> Message {
        self.fixed(field, 5, &value.to_le_bytes())
    }

    /// A string or a message.
    fn bytes(self, field: u64, value: &[u8]) -> Message {
        let mut message = self.varint(field << 3 | 2).varint(value.len() as u64);
        message.0.extend(value);
        message
    }

    fn fixed(self, field: u64, wire_type: u64, value: &[u8]) -> Message {
        let mut message = self.varint(field << 3 | wire_type);
        message.0.extend(value);
        message
    }

    /// Seven bits a byte, the lowest first; all bytes but the last have their highest bit set.
    fn varint(mut self, mut value: u64) -> Message {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3720, B.4.
    #[test]
    fn crc32c_is_that_of_iscsi() {
        let unmask = |crc: u32| crc.wrapping_sub(0xa282_ead8).rotate_left(15);
        let ascending: Vec<u8> = (0..32).collect();
        for (bytes, crc) in [
            (&[0; 32][..], 0x8a91_36aa),
            (&[0xff; 32], 0x62a8_ab43),
            (&ascending, 0x46dd_794e),
        ] {
            assert_eq!(unmask(masked_crc32c(bytes)), crc);
        }
    }

    /// The bytes that protoc writes for the text format
    /// `step: 300 summary { value { tag: "loss" simple_value: 0.5 } }`, after `wall_time`.
    #[test]
    fn events_are_encoded_as_protocol_buffers() {
        let record = scalars(300, &[("loss", 0.5)]);
        let event = &record[12..record.len() - 4];
        assert_eq!(event[0], 0x09);
        let expected = b"\x10\xac\x02\x2a\x0d\x0a\x0b\x0a\x04loss\x15\0\0\0\x3f";
        assert_eq!(&event[9..], expected);
        assert_eq!(record[..8], (event.len() as u64).to_le_bytes());
        let header = header();
        assert_eq!(&header[21..36], b"\x1a\x0dbrain.Event:2");
    }
}
