//! Threads that compute. Rayon's global pool does not survive `fork`: a forked child, such as a
//! worker that loads data, would wait forever for threads that only its parent has.

use std::any::Any;
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

use gatescan::{Error, Result};
use rayon::{ThreadPool, ThreadPoolBuilder};

/// A value that each process makes for itself, on first use. A forked child does not take over its
/// parent's: the parent's threads do not exist there, and a lock may be held for ever.
pub struct PerProcess<T: 'static>(AtomicPtr<Owned<T>>);

struct Owned<T> {
    process: u32,
    value: T,
}

impl<T: Send + Sync> PerProcess<T> {
    pub const fn new() -> Self {
        PerProcess(AtomicPtr::new(ptr::null_mut()))
    }

    /// Returns the value of this process; makes it by `make` where there is none.
    pub fn get(&self, make: impl FnOnce() -> T) -> &'static T {
        let Ok(value) = self.get_or_try(|| Ok::<T, Infallible>(make()));
        value
    }

    /// Returns the value of this process; makes it by `make` where there is none.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn get_or_try<E>(
        &self,
        make: impl FnOnce() -> std::result::Result<T, E>,
    ) -> std::result::Result<&'static T, E> {
        let process = process::id();
        let current = self.0.load(Ordering::Acquire);
        if let Some(owned) = leaked(current).filter(|owned| owned.process == process) {
            return Ok(&owned.value);
        }
        let value = make()?;
        let made = Box::into_raw(Box::new(Owned { process, value }));
        let swapped = self
            .0
            .compare_exchange(current, made, Ordering::AcqRel, Ordering::Acquire);
        // If another thread of this process has set a value first, that one is used.
        let owned = leaked(swapped.map_or_else(|found| found, |_| made));
        Ok(&owned.expect("it is set").value)
    }
}

/// Returns what a pointer of [`PerProcess`] refers to.
fn leaked<T>(owned: *mut Owned<T>) -> Option<&'static Owned<T>> {
    // SAFETY: it is null or a leaked box. None is freed, one for each process that computes.
    #[allow(unsafe_code)]
    unsafe {
        owned.as_ref()
    }
}

/// The process that loaded the module.
static LOADER: OnceLock<u32> = OnceLock::new();

/// Notes that this process loads the module.
pub fn loaded() {
    LOADER.get_or_init(process::id);
}

/// Whether this process was forked from the one that loaded the module.
#[cfg(target_os = "linux")]
pub fn is_forked() -> bool {
    *LOADER.get_or_init(process::id) != process::id()
}

/// Returns the pool of this process, which short computations share.
///
/// # Errors
/// Those of [`new`].
pub fn shared() -> Result<&'static ThreadPool> {
    static POOL: PerProcess<ThreadPool> = PerProcess::new();
    POOL.get_or_try(new)
}

/// Returns a pool for one long computation, which no other one shares.
///
/// # Errors
/// [`Error::Failed`] where the system gives no more threads.
pub fn new() -> Result<ThreadPool> {
    ThreadPoolBuilder::new()
        .num_threads(gatescan::low_level::backend::cpu::threads())
        .build()
        .map_err(|error| Error::Failed(format!("the threads that compute do not start: {error}")))
}

/// Computes with the threads of the shared pool.
///
/// # Errors
/// Those of `compute`; [`Error::Failed`] in place of a panic.
pub fn compute<T: Send>(compute: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    shared()?.install(|| guarded(compute))
}

/// Computes, and returns a panic as an error.
///
/// # Errors
/// Those of `compute`; [`Error::Failed`] in place of a panic.
pub fn guarded<T>(compute: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(compute)).unwrap_or_else(|panic| Err(defect(&*panic)))
}

fn defect(panic: &(dyn Any + Send)) -> Error {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    Error::Failed(format!(
        "a check inside gatescan failed, which is a defect in gatescan; please report it: {}",
        text.unwrap_or("it has no text")
    ))
}
