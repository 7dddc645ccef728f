//! The threads that compute layers on the CPU: those of PyTorch's OpenMP where there are some, or
//! else the pool of the process.
//!
//! After a parallel operation, the threads of OpenMP wait for the next one in a loop, and take time
//! from the threads of any other pool. So the library's work runs on them: each thread of a
//! parallel region is a worker of a pool of rayon that lasts as long as the region.

use gatescan::{Error, Result};
use rayon::{ThreadBuilder, ThreadPoolBuilder};

use crate::pool;

/// Multiply-adds of a pass from which on other threads help: less takes no longer than to wake one.
const PARALLEL_FROM: usize = 1 << 20;

/// Computes a pass of about `multiply_adds` on this thread, and on others where that pays.
///
/// # Errors
/// Those of `compute`; [`Error::Failed`] in place of a panic, and where the system gives no more
/// threads.
pub fn compute<T: Send>(
    multiply_adds: usize,
    compute: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    if rayon::current_thread_index().is_some() {
        return pool::guarded(compute);
    }
    let alone = |workers: Vec<ThreadBuilder>| workers.into_iter().for_each(ThreadBuilder::run);
    if multiply_adds < PARALLEL_FROM {
        return with_workers(1, alone, compute);
    }
    match openmp::team() {
        Some((_, 1)) => with_workers(1, alone, compute),
        Some((openmp, threads)) => with_workers(threads, |workers| openmp.run(workers), compute),
        None => pool::compute(compute),
    }
}

/// Computes on a new pool of `threads` workers, which `run` runs, one on each of some threads; this
/// thread must be one of them.
fn with_workers<T: Send>(
    threads: usize,
    run: impl FnOnce(Vec<ThreadBuilder>),
    compute: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    let mut workers = vec![];
    let pool = ThreadPoolBuilder::new()
        .num_threads(threads)
        .spawn_handler(|worker| {
            workers.push(worker);
            Ok(())
        })
        .build()
        .map_err(|error| {
            Error::Failed(format!("the threads that compute do not start: {error}"))
        })?;
    let mut result = None;
    let job: Box<dyn FnOnce() + Send + '_> = Box::new(|| result = Some(pool::guarded(compute)));
    // SAFETY: a worker runs the job before it ends, and `run` returns when the workers have ended.
    // Without a worker nobody runs it.
    #[allow(unsafe_code)]
    let job: Box<dyn FnOnce() + Send + 'static> = unsafe { std::mem::transmute(job) };
    pool.spawn(job);
    // The workers end when the job has.
    drop(pool);
    run(workers);
    result.unwrap_or_else(|| Err(Error::Failed("no thread computed".into())))
}

/// PyTorch's OpenMP. PyTorch's packages for Linux use GNU's library, whose functions LLVM's and
/// Intel's have too.
#[cfg(target_os = "linux")]
mod openmp {
    use std::ffi::{CStr, c_int, c_uint, c_void};
    use std::mem::transmute;
    use std::sync::Mutex;

    use rayon::ThreadBuilder;

    use crate::layers::engine::locked;
    use crate::pool::{self, PerProcess};

    /// The functions of the library.
    pub struct OpenMp {
        parallel: unsafe extern "C" fn(extern "C" fn(*mut c_void), *mut c_void, c_uint, c_uint),
        max_threads: unsafe extern "C" fn() -> c_int,
        in_parallel: unsafe extern "C" fn() -> c_int,
    }

    /// Returns the library and the number of threads of its next parallel region, which
    /// `torch.set_num_threads` decides. `None` without the library, within a parallel region, and
    /// for several threads in a forked child, which lacks the library's threads.
    pub fn team() -> Option<(&'static OpenMp, usize)> {
        static OPENMP: PerProcess<Option<OpenMp>> = PerProcess::new();
        let openmp = OPENMP.get(find).as_ref()?;
        // SAFETY: these functions of OpenMP's specification take nothing and may be called from
        // any thread.
        #[allow(unsafe_code)]
        let (threads, in_parallel) = unsafe { ((openmp.max_threads)(), (openmp.in_parallel)()) };
        let threads = usize::try_from(threads).unwrap_or(1).max(1);
        let is_allowed = in_parallel == 0 && (threads == 1 || !pool::is_forked());
        is_allowed.then_some((openmp, threads))
    }

    /// Finds the library that PyTorch has loaded.
    fn find() -> Option<OpenMp> {
        // SAFETY: the name ends with a zero, and a library that is not loaded is left alone.
        #[allow(unsafe_code)]
        let torch = unsafe {
            let flags = libc::RTLD_LAZY | libc::RTLD_NOLOAD;
            libc::dlopen(c"libtorch_cpu.so".as_ptr(), flags)
        };
        if torch.is_null() {
            return None;
        }
        // Looks in PyTorch's library and in those that it needs.
        let symbol = |name: &CStr| {
            // SAFETY: the library is loaded, and the name ends with a zero.
            #[allow(unsafe_code)]
            let found = unsafe { libc::dlsym(torch, name.as_ptr()) };
            (!found.is_null()).then_some(found)
        };
        let (parallel, max_threads, in_parallel) = (
            symbol(c"GOMP_parallel")?,
            symbol(c"omp_get_max_threads")?,
            symbol(c"omp_in_parallel")?,
        );
        // SAFETY: these are the functions' types in GCC's libgomp and in OpenMP's specification.
        #[allow(unsafe_code)]
        unsafe {
            Some(OpenMp {
                parallel: transmute::<
                    *mut c_void,
                    unsafe extern "C" fn(extern "C" fn(*mut c_void), *mut c_void, c_uint, c_uint),
                >(parallel),
                max_threads: transmute::<*mut c_void, unsafe extern "C" fn() -> c_int>(max_threads),
                in_parallel: transmute::<*mut c_void, unsafe extern "C" fn() -> c_int>(in_parallel),
            })
        }
    }

    impl OpenMp {
        /// Runs one worker on each thread of a parallel region, which this thread begins.
        pub fn run(&self, workers: Vec<ThreadBuilder>) {
            let threads = workers.len() as c_uint;
            let workers = Mutex::new(workers);
            let data = (&raw const workers).cast_mut().cast();
            // SAFETY: the region ends before the call returns, so `workers` outlives it.
            #[allow(unsafe_code)]
            unsafe {
                (self.parallel)(work, data, threads, 0);
            }
        }
    }

    /// Runs a worker of the pool on a thread of the region. The region may have fewer threads than
    /// workers.
    extern "C" fn work(workers: *mut c_void) {
        // SAFETY: `OpenMp::run` passes this mutex, which outlives the region.
        #[allow(unsafe_code)]
        let workers = unsafe { &*workers.cast::<Mutex<Vec<ThreadBuilder>>>() };
        let worker = locked(workers).pop();
        if let Some(worker) = worker {
            worker.run();
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod openmp {
    use rayon::ThreadBuilder;

    /// There is none.
    pub enum OpenMp {}

    pub fn team() -> Option<(&'static OpenMp, usize)> {
        None
    }

    impl OpenMp {
        pub fn run(&self, _: Vec<ThreadBuilder>) {
            match *self {}
        }
    }
}
