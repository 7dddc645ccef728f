//! Injected device faults, with which tests exercise the recovery from driver failures.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
#[cfg(feature = "gpu")]
use std::sync::atomic::Ordering;

/// A fault of the driver that befalls a range of a device's submissions.
#[doc(hidden)]
#[derive(Debug, Clone)]
#[cfg_attr(not(feature = "gpu"), expect(dead_code))]
pub struct Fault {
    kind: FaultKind,
    /// Index of the first affected submission of the device.
    first: u64,
    /// Number of affected submissions.
    count: u64,
    submitted: Arc<AtomicU64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FaultKind {
    /// The driver drops the submission but reports it complete.
    Drop,
    /// The device is lost.
    Destroy,
}

#[cfg(feature = "gpu")]
impl Fault {
    /// Counts one submission and returns the fault that befalls it, if any.
    pub(super) fn next(&self) -> Option<FaultKind> {
        let index = self.submitted.fetch_add(1, Ordering::Relaxed);
        let offset = index.checked_sub(self.first)?;
        (offset < self.count).then_some(self.kind)
    }
}

impl FromStr for Fault {
    type Err = String;

    /// Parses `drop:FIRST:COUNT` or `destroy:FIRST:COUNT`.
    fn from_str(text: &str) -> Result<Fault, String> {
        let expected = || "expected drop:FIRST:COUNT or destroy:FIRST:COUNT".to_string();
        let parts: Vec<&str> = text.split(':').collect();
        let [kind, first, count] = parts[..] else {
            return Err(expected());
        };
        let number = |text: &str| text.parse().map_err(|_| expected());
        Ok(Fault {
            kind: match kind {
                "drop" => FaultKind::Drop,
                "destroy" => FaultKind::Destroy,
                _ => return Err(expected()),
            },
            first: number(first)?,
            count: number(count)?,
            submitted: Arc::default(),
        })
    }
}
