//! All threads of the process on one core, for a while.
//!
//! What a submission costs is mostly threads waking one another, the caller's and the driver's, and that costs half as much again
//! where the system happens to have them on two cores. Only Linux lets a process decide it; elsewhere the system does.

/// Does `work` with all threads of this process, the driver's among them, on the core that this thread runs on. They may go where
/// they might before once this ends.
pub(super) fn on_one_core<T>(work: impl FnOnce() -> T) -> T {
    #[cfg(target_os = "linux")]
    let _confined = linux::Confined::new();
    work()
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;

    use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_getcpu, sched_setaffinity};

    /// Where each thread may run when this is dropped.
    pub(super) struct Confined {
        caller: Option<CpuSet>,
        threads: Vec<(Pid, CpuSet)>,
    }

    impl Confined {
        /// A thread that the system does not let be moved stays where it is: measurements are then as good as without.
        pub(super) fn new() -> Confined {
            let before = |thread| Some((thread, sched_getaffinity(Some(thread)).ok()?));
            let confined = Confined {
                caller: sched_getaffinity(None).ok(),
                threads: threads().filter_map(before).collect(),
            };
            let mut core = CpuSet::new();
            core.set(sched_getcpu());
            for (thread, _) in &confined.threads {
                let _ = sched_setaffinity(Some(*thread), &core);
            }
            confined
        }
    }

    impl Drop for Confined {
        fn drop(&mut self) {
            // A thread that a driver has begun meanwhile may go where the caller may.
            for thread in threads() {
                let known = self.threads.iter().find(|(known, _)| *known == thread);
                if let Some(cores) = known.map(|(_, cores)| cores).or(self.caller.as_ref()) {
                    let _ = sched_setaffinity(Some(thread), cores);
                }
            }
        }
    }

    fn threads() -> impl Iterator<Item = Pid> {
        let entries = fs::read_dir("/proc/self/task")
            .into_iter()
            .flatten()
            .flatten();
        entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
    }

    #[cfg(test)]
    mod tests {
        use std::thread;

        use super::super::on_one_core;
        use super::*;

        #[test]
        fn threads_share_a_core_and_get_theirs_back() {
            let cores = || sched_getaffinity(None).unwrap();
            let before = cores();
            let (within, begun) = on_one_core(|| {
                // Still there when the others get their cores back.
                let begun = thread::spawn(|| {
                    thread::park();
                    sched_getaffinity(None).unwrap()
                });
                (cores(), begun)
            });
            assert_eq!(within.count(), 1);
            assert_eq!(cores(), before);
            begun.thread().unpark();
            assert_eq!(begun.join().unwrap(), before);
        }
    }
}
