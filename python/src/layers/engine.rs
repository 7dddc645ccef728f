//! The device and the recordings with which a process computes layers.
//!
//! All of it belongs to one process. A forked child makes its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gatescan::layers::{LayerElement, RecordedLayers, RecordingPool};
use gatescan::{Device, Error, OpenDevice, Result};

use crate::devices;
use crate::pool::PerProcess;

/// A recording of any element type.
pub enum Recording {
    F32(RecordedLayers<f32>),
    F64(RecordedLayers<f64>),
}

/// An element type that has a pool of recordings.
pub trait Pooled: LayerElement {
    /// Returns the pool of recordings of this type.
    ///
    /// # Errors
    /// [`Error::Usage`] for f64 where a GPU was requested.
    fn pool(place: &Place) -> Result<&RecordingPool<Self>>;

    fn wrap(recording: RecordedLayers<Self>) -> Recording;

    /// Returns the recording, if it is of this type.
    fn unwrap(recording: &mut Recording) -> Option<&mut RecordedLayers<Self>>;
}

impl Pooled for f32 {
    fn pool(place: &Place) -> Result<&RecordingPool<f32>> {
        Ok(&place.singles)
    }

    fn wrap(recording: RecordedLayers<f32>) -> Recording {
        Recording::F32(recording)
    }

    fn unwrap(recording: &mut Recording) -> Option<&mut RecordedLayers<f32>> {
        match recording {
            Recording::F32(recording) => Some(recording),
            Recording::F64(_) => None,
        }
    }
}

impl Pooled for f64 {
    fn pool(place: &Place) -> Result<&RecordingPool<f64>> {
        if place.device != Device::Cpu && !place.request.eq_ignore_ascii_case("auto") {
            return Err(Error::usage(format!(
                "the tensors are float64, which only the CPU computes, and the device is `{}`; \
                 use float32, or gatescan.set_device(\"cpu\")",
                place.request
            )));
        }
        Ok(&place.doubles)
    }

    fn wrap(recording: RecordedLayers<f64>) -> Recording {
        Recording::F64(recording)
    }

    fn unwrap(recording: &mut Recording) -> Option<&mut RecordedLayers<f64>> {
        match recording {
            Recording::F64(recording) => Some(recording),
            Recording::F32(_) => None,
        }
    }
}

/// The device that computes, and the recordings on it.
pub struct Place {
    request: String,
    device: Device,
    singles: RecordingPool<f32>,
    /// On the CPU.
    doubles: RecordingPool<f64>,
}

impl Place {
    fn open(request: &str, device: Device) -> Result<Place> {
        Ok(Place {
            request: request.to_string(),
            device,
            singles: RecordingPool::new(OpenDevice::open(&device)?),
            doubles: RecordingPool::new(OpenDevice::open(&Device::Cpu)?),
        })
    }

    /// Returns the device's name.
    pub fn label(&self) -> String {
        let adapter = self.singles.device().adapter();
        adapter.map_or_else(|| "cpu".to_string(), |adapter| adapter.label())
    }

    /// Whether it is the CPU.
    pub fn is_cpu(&self) -> bool {
        self.device == Device::Cpu
    }

    /// Puts a recording back.
    pub fn put(&self, recording: Recording) {
        match recording {
            Recording::F32(recording) => self.singles.put(recording),
            Recording::F64(recording) => self.doubles.put(recording),
        }
    }
}

/// The request and the device that it chose, which a forked child takes over. The lock is held only
/// with the interpreter's lock, and so by nobody else when Python forks.
static CHOICE: Mutex<Choice> = Mutex::new(Choice {
    request: String::new(),
    chosen: None,
});

struct Choice {
    /// Empty for `auto`.
    request: String,
    /// The device, and the process that chose it.
    chosen: Option<(Device, u32)>,
}

/// The engine of the process.
pub struct Engine {
    process: u32,
    place: Mutex<Option<Arc<Place>>>,
    /// The recordings that wait for a backward pass, by the addresses of their reserves.
    waiting: Mutex<HashMap<usize, Arc<Waiting>>>,
}

/// A recording that waits for a backward pass.
pub struct Waiting {
    pub recording: Mutex<Recording>,
    pub place: Arc<Place>,
}

/// Locks a mutex whose values stay valid where a thread panicked.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the engine of this process.
pub fn engine() -> &'static Engine {
    static ENGINE: PerProcess<Engine> = PerProcess::new();
    ENGINE.get(|| Engine {
        process: std::process::id(),
        place: Mutex::new(None),
        waiting: Mutex::new(HashMap::new()),
    })
}

/// Requests a device for the passes that follow, and returns its name.
///
/// # Errors
/// Those of [`devices::choose`] and [`OpenDevice::open`].
pub fn set_device(request: &str) -> Result<String> {
    let engine = engine();
    let device = devices::choose(request)?;
    let place = Arc::new(Place::open(request, device)?);
    *locked(&CHOICE) = Choice {
        request: request.to_string(),
        chosen: Some((device, engine.process)),
    };
    let label = place.label();
    *locked(&engine.place) = Some(place);
    Ok(label)
}

/// Returns the device that the request chose, in this process or before it was forked.
fn chosen_device(process: u32) -> Result<(String, Device)> {
    let mut choice = locked(&CHOICE);
    if choice.request.is_empty() {
        choice.request = "auto".into();
    }
    let request = choice.request.clone();
    match choice.chosen {
        Some((device, owner)) if device == Device::Cpu || owner == process => Ok((request, device)),
        Some(_) => Err(Error::usage(
            "this process was forked from one that uses a GPU, which a driver does not survive; \
             start it with the start method `spawn`, or call gatescan.set_device(\"cpu\") in it",
        )),
        None => {
            let device = devices::choose(&request)?;
            choice.chosen = Some((device, process));
            Ok((request, device))
        }
    }
}

impl Engine {
    /// Returns the place that computes; opens its device at first.
    ///
    /// # Errors
    /// Those of [`set_device`]; [`Error::Usage`] in a child forked from a process that uses a GPU.
    pub fn place(&self) -> Result<Arc<Place>> {
        let mut place = locked(&self.place);
        if let Some(place) = place.as_ref() {
            return Ok(place.clone());
        }
        let (request, device) = chosen_device(self.process)?;
        let opened = Arc::new(Place::open(&request, device)?);
        *place = Some(opened.clone());
        Ok(opened)
    }

    /// Whether the engine is of the process that runs.
    pub fn is_of_this_process(&self) -> bool {
        self.process == std::process::id()
    }

    /// Keeps a recording until [`Engine::release`].
    pub fn keep(&self, key: usize, waiting: Arc<Waiting>) {
        locked(&self.waiting).insert(key, waiting);
    }

    /// Returns the recording that was kept.
    pub fn waiting(&self, key: usize) -> Option<Arc<Waiting>> {
        locked(&self.waiting).get(&key).cloned()
    }

    /// Puts a recording that was kept back into its pool.
    pub fn release(&self, key: usize) {
        let waiting = locked(&self.waiting).remove(&key);
        if let Some(waiting) = waiting.and_then(Arc::into_inner) {
            let recording = waiting.recording.into_inner();
            waiting
                .place
                .put(recording.unwrap_or_else(PoisonError::into_inner));
        }
    }
}
