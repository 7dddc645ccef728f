//! Threads that compute. Rayon's global pool does not survive `fork`: a forked child, such as a
//! worker that loads data, would wait forever for threads that only its parent has.

use std::any::Any;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process;
use std::sync::{Arc, Mutex, PoisonError};

use gatescan::{Error, Result};
use rayon::{ThreadPool, ThreadPoolBuilder};

/// The pool of this process.
static POOL: Mutex<Option<(u32, Arc<ThreadPool>)>> = Mutex::new(None);

/// Returns the pool of this process, which short computations share.
fn shared() -> Result<Arc<ThreadPool>> {
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    match &*pool {
        Some((owner, pool)) if *owner == process::id() => Ok(pool.clone()),
        _ => {
            let own = Arc::new(new()?);
            // The threads of a parent's pool are not in this process, so it cannot be dropped.
            mem::forget(pool.replace((process::id(), own.clone())));
            Ok(own)
        }
    }
}

/// Returns a pool for one long computation, which no other one shares.
///
/// # Errors
/// [`Error::Failed`] where the system gives no more threads.
pub fn new() -> Result<ThreadPool> {
    ThreadPoolBuilder::new()
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
