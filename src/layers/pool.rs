//! Recordings that are not in use.

use std::sync::{Mutex, PoisonError};

use super::{LayerElement, Layers, RecordedLayers, RowLayout, WantedGradients, steps_bound};
use crate::backend::OpenDevice;
use crate::error::Result;

/// Bytes of recordings that a pool keeps.
const KEPT_BYTES: u64 = 256 << 20;

/// Recordings that are not in use, for any layers and sizes, on one device. Those used longest ago
/// are dropped where all take more than 256 MiB.
pub struct RecordingPool<R: 'static> {
    device: OpenDevice,
    idle: Mutex<Vec<RecordedLayers<R>>>,
}

impl<R: LayerElement> RecordingPool<R> {
    /// An empty pool.
    pub fn new(device: OpenDevice) -> Self {
        RecordingPool {
            device,
            idle: Mutex::new(vec![]),
        }
    }

    /// Takes a recording of `layers` for `batch` sequences of these rows out of the pool, or makes
    /// one. On the CPU, rows of equal lengths get a recording of exactly their steps, so that its
    /// passes compute in the host's memory; others get one of [`steps_bound`] steps. Recordings of
    /// one shape may be in use at once.
    ///
    /// # Errors
    /// Those of [`Layers::record`].
    pub fn take(
        &self,
        layers: &Layers,
        rows: &RowLayout,
        batch: usize,
        wanted: WantedGradients,
    ) -> Result<RecordedLayers<R>> {
        let is_exact = self.device.adapter().is_none() && matches!(rows, RowLayout::Full { .. });
        let bound = if is_exact {
            rows.steps()
        } else {
            steps_bound(rows.steps())
        };
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let found = idle
            .iter()
            .rposition(|kept| kept.is_of(layers, bound, batch, wanted));
        if let Some(at) = found {
            return Ok(idle.remove(at));
        }
        drop(idle);
        layers.record(&self.device, bound, batch, wanted)
    }

    /// Puts a recording back.
    pub fn put(&self, recording: RecordedLayers<R>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(recording);
        let mut bytes: u64 = idle.iter().map(RecordedLayers::bytes).sum();
        let count = idle.len();
        let dropped = idle.iter().take_while(|oldest| {
            let is_too_much = bytes > KEPT_BYTES;
            bytes -= oldest.bytes();
            is_too_much
        });
        // The newest is kept, whatever its size.
        let dropped = dropped.count().min(count - 1);
        idle.drain(..dropped);
    }

    /// Returns the device.
    pub fn device(&self) -> &OpenDevice {
        &self.device
    }
}
