//! Where the threads of the process run, for a while.
//!
//! What a submission costs is mostly threads waking one another, the caller's and the driver's, and that costs half as much again
//! where the system happens to have them on two cores; and it may leave two threads that compute on one core for seconds, beside
//! another that sleeps. Only Linux lets a process decide it; elsewhere the system does.

pub(super) enum Cores {
    /// All threads on the core that the caller runs on.
    One,
    /// One thread after another on the next of the caller's cores, so that a driver's own, begun in a row, share none.
    Each,
}

/// Does `work` with all threads of this process, the driver's among them, on these cores. They may go where they might before
/// once it ends.
#[cfg_attr(not(target_os = "linux"), expect(unused_variables))]
pub(super) fn on_cores<T>(cores: Cores, work: impl FnOnce() -> T) -> T {
    #[cfg(target_os = "linux")]
    let _placed = linux::Placed::new(cores);
    work()
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;

    use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_getcpu, sched_setaffinity};

    use super::Cores;

    /// Where each thread might run, which it may again when this is dropped.
    pub(super) struct Placed {
        caller: CpuSet,
        threads: Vec<(Pid, CpuSet)>,
    }

    impl Placed {
        /// A thread that the system does not let be moved stays where it is: measurements are then as good as without.
        pub(super) fn new(cores: Cores) -> Option<Placed> {
            let caller = sched_getaffinity(None).ok()?;
            let cores = match cores {
                Cores::One => vec![sched_getcpu()],
                Cores::Each => (0..CpuSet::MAX_CPU)
                    .filter(|&core| caller.is_set(core))
                    .collect(),
            };
            let mut threads = vec![];
            for (thread, &core) in all_threads().zip(cores.iter().cycle()) {
                let mut set = CpuSet::new();
                set.set(core);
                if let Ok(before) = sched_getaffinity(Some(thread)) {
                    threads.push((thread, before));
                    let _ = sched_setaffinity(Some(thread), &set);
                }
            }
            Some(Placed { caller, threads })
        }
    }

    impl Drop for Placed {
        fn drop(&mut self) {
            // A thread that a driver has begun meanwhile may go where the caller may.
            for thread in all_threads() {
                let known = self.threads.iter().find(|(known, _)| *known == thread);
                let before = known.map_or(self.caller, |(_, before)| *before);
                let _ = sched_setaffinity(Some(thread), &before);
            }
        }
    }

    fn all_threads() -> impl Iterator<Item = Pid> {
        let entries = fs::read_dir("/proc/self/task")
            .into_iter()
            .flatten()
            .flatten();
        entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
    }

    #[cfg(test)]
    mod tests {
        use std::thread;

        use super::super::on_cores;
        use super::*;

        // One test, since both move all threads.
        #[test]
        fn threads_are_placed_and_get_their_cores_back() {
            let cores = || sched_getaffinity(None).unwrap();
            let before = cores();
            let (within, begun) = on_cores(Cores::One, || {
                // Still there when the others get their cores back.
                let begun = thread::spawn(move || {
                    thread::park();
                    cores()
                });
                (cores(), begun)
            });
            assert_eq!(within.count(), 1);
            assert_eq!(cores(), before);

            let of_all = || {
                let cores = all_threads().filter_map(|thread| sched_getaffinity(Some(thread)).ok());
                cores.collect::<Vec<_>>()
            };
            let spread = on_cores(Cores::Each, of_all);
            let used =
                (0..CpuSet::MAX_CPU).filter(|&core| spread.iter().any(|set| set.is_set(core)));
            assert!(used.count() >= spread.len().min(before.count() as usize).min(2));
            assert_eq!(cores(), before);

            begun.thread().unpark();
            assert_eq!(begun.join().unwrap(), before);
        }
    }
}
