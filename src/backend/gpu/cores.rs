//! Temporary affinity of all threads of the process to CPU cores, for repeatable measurements.
//!
//! The cost of a submission is mostly the caller's and the driver's threads waking each other,
//! which takes half as long again if the system has placed them on two cores. The system may also
//! leave two busy threads on one core for seconds while another core is idle. Affinities are set on
//! Linux only.

/// An assignment of threads to cores.
pub(super) enum Cores {
    /// All threads on the caller's current core.
    One,
    /// Threads on the cores of the caller's affinity in turn, so that a driver's threads, which are
    /// created one after another, do not share a core.
    Each,
}

/// Runs `work` with all threads of this process, the driver's included, on `cores`; restores their
/// affinities afterwards.
#[cfg_attr(not(target_os = "linux"), expect(unused_variables))]
pub(super) fn on_cores<T>(cores: Cores, work: impl FnOnce() -> T) -> T {
    #[cfg(target_os = "linux")]
    let _affinities = linux::SavedAffinities::replace(cores);
    work()
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;

    use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_getcpu, sched_setaffinity};

    use super::Cores;

    /// The affinities of all threads, restored on drop.
    pub(super) struct SavedAffinities {
        caller: CpuSet,
        threads: Vec<(Pid, CpuSet)>,
    }

    impl SavedAffinities {
        /// Sets new affinities. Threads whose affinity cannot be set keep theirs, which only makes
        /// measurements less repeatable.
        pub(super) fn replace(cores: Cores) -> Option<SavedAffinities> {
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
            Some(SavedAffinities { caller, threads })
        }
    }

    impl Drop for SavedAffinities {
        fn drop(&mut self) {
            // A thread created since then gets the caller's affinity.
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

        // One test for both, since each moves all threads of the process.
        #[test]
        fn affinities_are_set_and_restored() {
            let cores = || sched_getaffinity(None).unwrap();
            let before = cores();
            let (within, begun) = on_cores(Cores::One, || {
                // A new thread, alive until the affinities are restored.
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
