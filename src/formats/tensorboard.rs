//! TensorBoard's event files: records of events, of which ours are scalars.

use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

/// The record that a file begins with.
pub fn header() -> Vec<u8> {
    let file_version = Some("brain.Event:2".to_string());
    record(&Event {
        file_version,
        ..Event::default()
    })
}

/// A run that begins, or goes on, after `step` updates: TensorBoard forgets what was written of later ones.
pub fn start(step: usize) -> Vec<u8> {
    record(&Event {
        // It forgets those of this step too.
        step: step as i64 + 1,
        session_log: Some(SessionLog { status: 1 }),
        ..Event::default()
    })
}

/// Scalars by their tags, after `step` updates.
pub fn scalars(step: usize, values: &[(&str, f64)]) -> Vec<u8> {
    let value = |&(tag, value): &(&str, f64)| Value {
        tag: tag.into(),
        simple_value: Some(value as f32),
    };
    record(&Event {
        step: step as i64,
        summary: Some(Summary {
            value: values.iter().map(value).collect(),
        }),
        ..Event::default()
    })
}

/// TFRecord: the length, the event, each with its checksum.
fn record(event: &Event) -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let event = Event {
        wall_time: now.unwrap_or_default().as_secs_f64(),
        ..event.clone()
    };
    let event = event.encode_to_vec();
    let length = (event.len() as u64).to_le_bytes();
    let sums = [&length[..], &event].map(|part| masked_crc32c(part).to_le_bytes());
    [&length[..], &sums[0], &event, &sums[1]].concat()
}

/// CRC-32C, rotated and shifted, so that sums of sums stay sums
/// (<https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details>).
fn masked_crc32c(bytes: &[u8]) -> u32 {
    let bit = |crc: u32, _| crc >> 1 ^ 0x82f6_3b78 & (crc & 1).wrapping_neg();
    let byte = |crc: u32, &byte: &u8| (0..8).fold(crc ^ u32::from(byte), bit);
    let crc = !bytes.iter().fold(!0, byte);
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

// The parts of https://github.com/tensorflow/tensorboard/blob/master/tensorboard/compat/proto/event.proto that are written.

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    session_log: Option<SessionLog>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
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
}
