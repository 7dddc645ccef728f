//! The checkpoints of a run, in a directory of their own: the last ones and the best epoch's.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::io::disk::{self, Disk, Os};
use crate::train::Position;
use crate::train::checkpoint::Checkpoint;

/// Writes a run's checkpoints and removes those that are no longer kept. Nothing is removed before what takes its place is on
/// the disk.
pub struct Checkpoints {
    directory: PathBuf,
    /// The last so many are kept.
    keep: usize,
    /// Updates up to each checkpoint that is known to be whole, rising.
    whole: Vec<usize>,
    disk: Box<dyn Disk>,
}

/// What a directory of checkpoints holds.
#[derive(Debug, Default)]
pub struct Found {
    /// The newest that is whole, and its file.
    pub newest: Option<(PathBuf, Checkpoint)>,
    /// What is wrong with those that are newer.
    pub damaged: Vec<Error>,
}

impl Checkpoints {
    /// Of a run that is new or goes on from `from`; `keep` is at least 1.
    pub fn new(directory: &Path, keep: usize, from: Option<&Checkpoint>) -> Checkpoints {
        let mut checkpoints = Checkpoints {
            directory: directory.to_path_buf(),
            keep,
            whole: vec![],
            disk: Box::new(Os),
        };
        if let Some(Position {
            step, best_step, ..
        }) = from.map(|from| &from.position)
        {
            // A kill may have come between a write and the removal of what it replaces.
            let files = list(&mut Os, directory).unwrap_or_default();
            let older = files.into_iter().filter(|(other, _)| other <= step).rev();
            let whole = older.filter(|(_, path)| Checkpoint::load(path).is_ok());
            checkpoints.whole = whole.take(keep).map(|(step, _)| step).collect();
            checkpoints.whole.reverse();
            checkpoints.remove_old(*best_step);
        }
        checkpoints
    }

    /// Looks for the newest checkpoint that is whole.
    ///
    /// # Errors
    /// [`Error::File`] where the directory cannot be read. One that is not there holds nothing.
    pub fn find(directory: &Path) -> Result<Found> {
        let mut found = Found::default();
        let files = list(&mut Os, directory).map_err(|error| {
            Error::file(
                directory,
                format!("the checkpoints cannot be listed: {error}"),
            )
        })?;
        for (_, path) in files.into_iter().rev() {
            match Checkpoint::load(&path) {
                Ok(checkpoint) => {
                    found.newest = Some((path, checkpoint));
                    break;
                }
                Err(error) => found.damaged.push(error),
            }
        }
        Ok(found)
    }

    /// Writes a checkpoint as `step-<updates>.safetensors`.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be written; those before it are still there.
    pub fn write(&mut self, checkpoint: &Checkpoint) -> Result<PathBuf> {
        let step = checkpoint.position.step;
        let path = self.directory.join(file_name(step));
        let unwritten = |problem: &dyn std::fmt::Display| {
            Error::file(
                &path,
                format!("the checkpoint cannot be written: {problem}"),
            )
        };
        let bytes = checkpoint
            .to_bytes()
            .map_err(|problem| unwritten(&problem))?;
        disk::replace(self.disk.as_mut(), &path, &bytes).map_err(|error| unwritten(&error))?;
        self.whole.retain(|&other| other != step);
        self.whole.push(step);
        self.remove_old(checkpoint.position.best_step);
        Ok(path)
    }

    /// Removes what is older than the last ones that are known to be whole. What cannot be removed stays until the next time.
    fn remove_old(&mut self, best: Option<usize>) {
        let Some(spare) = self.whole.len().checked_sub(self.keep) else {
            return;
        };
        self.whole.drain(..spare);
        let oldest = self.whole.first().copied().unwrap_or(0);
        let disk = self.disk.as_mut();
        for (step, path) in list(disk, &self.directory).unwrap_or_default() {
            if step < oldest && best != Some(step) {
                let _ = disk.remove(&path);
            }
        }
    }
}

fn file_name(step: usize) -> String {
    format!("step-{step:09}.safetensors")
}

/// The step of a checkpoint's file, if it is one.
fn step_of(path: &Path) -> Option<usize> {
    let name = path.file_name()?.to_str()?.strip_prefix("step-")?;
    name.strip_suffix(".safetensors")?.parse().ok()
}

/// The checkpoints of a directory and their steps, rising.
fn list(disk: &mut dyn Disk, directory: &Path) -> io::Result<Vec<(usize, PathBuf)>> {
    let paths = disk.list(directory)?.into_iter();
    let mut files: Vec<_> = paths
        .filter_map(|path| Some((step_of(&path)?, path)))
        .collect();
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    use std::fs;
    use std::io::{ErrorKind, Write};
    use std::rc::Rc;

    use super::*;
    use crate::io::disk::SyncWrite;
    use crate::recipe::Recipe;

    /// What a computer holds of some files: all of it while it runs, and less after a crash.
    #[derive(Debug, Clone, Default)]
    struct State {
        /// Each file's bytes, and how many of them are on the disk for certain.
        files: Vec<(Vec<u8>, usize)>,
        names: BTreeMap<PathBuf, usize>,
        /// The names that are on the disk for certain.
        synced_names: BTreeMap<PathBuf, usize>,
        /// Operations that may still be done, where a byte written is one.
        left: usize,
        /// Whether `sync` does nothing, and says it has.
        lies: bool,
    }

    impl State {
        /// Counts `wanted` operations; how many of them can be done.
        fn spend(&mut self, wanted: usize) -> io::Result<usize> {
            if self.left == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            let done = wanted.min(self.left);
            self.left -= done;
            Ok(done)
        }

        /// What may be found after a crash now: names as last synced or as they were, and of bytes that were never synced
        /// all, none or some.
        fn after_crash(&self) -> Vec<BTreeMap<PathBuf, Vec<u8>>> {
            let mut found = vec![];
            for names in [&self.names, &self.synced_names] {
                for eighths in [0, 5, 8] {
                    let content = |&file: &usize| {
                        let (bytes, synced) = &self.files[file];
                        bytes[..synced + (bytes.len() - synced) * eighths / 8].to_vec()
                    };
                    let files = names
                        .iter()
                        .map(|(name, file)| (name.clone(), content(file)));
                    found.push(files.collect());
                }
            }
            found
        }
    }

    struct Model(Rc<RefCell<State>>);

    struct ModelFile {
        state: Rc<RefCell<State>>,
        file: usize,
    }

    impl Disk for Model {
        fn create(&mut self, path: &Path) -> io::Result<Box<dyn SyncWrite>> {
            let mut state = self.0.borrow_mut();
            state.spend(1)?;
            state.files.push((vec![], 0));
            let file = state.files.len() - 1;
            state.names.insert(path.to_path_buf(), file);
            Ok(Box::new(ModelFile {
                state: self.0.clone(),
                file,
            }))
        }

        fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
            let mut state = self.0.borrow_mut();
            state.spend(1)?;
            let file = state.names.remove(from).ok_or(ErrorKind::NotFound)?;
            state.names.insert(to.to_path_buf(), file);
            Ok(())
        }

        fn remove(&mut self, path: &Path) -> io::Result<()> {
            let mut state = self.0.borrow_mut();
            state.spend(1)?;
            state.names.remove(path);
            Ok(())
        }

        fn sync_directory(&mut self, _: &Path) -> io::Result<()> {
            let mut state = self.0.borrow_mut();
            state.spend(1)?;
            if !state.lies {
                state.synced_names = state.names.clone();
            }
            Ok(())
        }

        fn list(&mut self, directory: &Path) -> io::Result<Vec<PathBuf>> {
            let state = self.0.borrow();
            let names = state.names.keys();
            Ok(names
                .filter(|name| name.starts_with(directory))
                .cloned()
                .collect())
        }
    }

    impl Write for ModelFile {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut state = self.state.borrow_mut();
            let written = state.spend(bytes.len())?;
            state.files[self.file].0.extend(&bytes[..written]);
            Ok(written)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl SyncWrite for ModelFile {
        fn sync(&mut self) -> io::Result<()> {
            let mut state = self.state.borrow_mut();
            state.spend(1)?;
            if !state.lies {
                let (bytes, synced) = &mut state.files[self.file];
                *synced = bytes.len();
            }
            Ok(())
        }
    }

    fn checkpoint(step: usize) -> Checkpoint {
        let mut recipe = Recipe::load("mnist").expect("it is built in");
        recipe.network.layers[0].hidden_size = 1;
        let network = recipe.network(1, 2).expect("it is one");
        let parameters = network.initial(step as u64);
        let position = Position {
            step,
            ..Position::default()
        };
        Checkpoint {
            moments: vec![("first_moment".into(), parameters.clone())],
            recipe,
            network,
            preparation: Default::default(),
            position,
            data: 7,
            parameters,
            states: vec![],
            best: None,
        }
    }

    fn on(state: &Rc<RefCell<State>>, keep: usize) -> Checkpoints {
        Checkpoints {
            disk: Box::new(Model(state.clone())),
            ..Checkpoints::new(Path::new("run"), keep, None)
        }
    }

    /// What files were found to be.
    type Seen = BTreeMap<Vec<u8>, Option<usize>>;

    /// The step of the newest file that is whole.
    fn newest(files: &BTreeMap<PathBuf, Vec<u8>>, seen: &mut Seen) -> Option<usize> {
        let mut named = files
            .iter()
            .rev()
            .filter(|(path, _)| step_of(path).is_some());
        named.find_map(|(_, bytes)| {
            let read = || Some(Checkpoint::from_bytes(bytes).ok()?.position.step);
            *seen.entry(bytes.clone()).or_insert_with(read)
        })
    }

    /// A disk with checkpoints of steps 1 to 3.
    fn three(keep: usize, lies: bool) -> Rc<RefCell<State>> {
        let state = Rc::new(RefCell::new(State {
            left: usize::MAX,
            lies,
            ..State::default()
        }));
        let mut checkpoints = on(&state, keep);
        for step in 1..=3 {
            checkpoints
                .write(&checkpoint(step))
                .expect("there is space");
        }
        state
    }

    /// The fourth write is broken after each operation and each byte, as by a crash and as by a full disk.
    #[test]
    fn a_whole_checkpoint_remains_wherever_a_write_breaks() {
        let bytes = checkpoint(4).to_bytes().expect("it serialises").len();
        let mut seen = Seen::new();
        for keep in [1, 2] {
            let operations = bytes + 5;
            let before = three(keep, false).borrow().clone();
            for left in 0..=operations {
                let state = Rc::new(RefCell::new(before.clone()));
                let mut checkpoints = on(&state, keep);
                checkpoints.whole = (1..=3).skip(3 - keep).collect();
                state.borrow_mut().left = left;
                let written = checkpoints.write(&checkpoint(4)).is_ok();
                for found in state.borrow().after_crash() {
                    let newest = newest(&found, &mut seen);
                    let named = found.keys().filter(|path| step_of(path).is_some()).count();
                    assert!(newest >= Some(3), "{left} of {operations}: {newest:?}");
                    assert!(
                        !written || newest == Some(4),
                        "{left}: written and not there"
                    );
                    assert!((1..=keep + 2).contains(&named), "{left}: {named} files");
                }
                // The disk is free again, and the run has gone on.
                state.borrow_mut().left = usize::MAX;
                checkpoints.write(&checkpoint(5)).expect("there is space");
                for found in state.borrow().after_crash() {
                    assert_eq!(
                        newest(&found, &mut seen),
                        Some(5),
                        "after {left} of {operations}"
                    );
                }
                let names: Vec<usize> = state
                    .borrow()
                    .names
                    .keys()
                    .filter_map(|path| step_of(path))
                    .collect();
                // One more where the disk failed between the rename and its confirmation.
                assert!(
                    (keep..=keep + 1).contains(&names.len()),
                    "{left}: {names:?}"
                );
            }
            assert!(operations > 1000, "the file is too small to tell anything");
        }
    }

    /// So the test above can fail.
    #[test]
    fn a_disk_that_lies_loses_checkpoints() {
        let crashes = three(1, true).borrow().after_crash();
        let mut seen = Seen::new();
        assert!(
            crashes
                .iter()
                .any(|found| newest(found, &mut seen) != Some(3))
        );
    }

    #[test]
    fn the_best_is_kept_and_the_last_ones() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut checkpoints = Checkpoints::new(directory.path(), 2, None);
        for step in (10..=60).step_by(10) {
            let mut checkpoint = checkpoint(step);
            checkpoint.position.best_step = Some(20);
            checkpoints.write(&checkpoint).expect("there is space");
        }
        let steps = |directory: &Path| {
            let files = list(&mut Os, directory).expect("it is there");
            files.iter().map(|(step, _)| *step).collect::<Vec<_>>()
        };
        assert_eq!(steps(directory.path()), [20, 50, 60]);
        // The newest is damaged: it counts for nothing, but stays until others take its place.
        fs::write(directory.path().join(file_name(60)), "damaged").expect("it can be written");
        let found = Checkpoints::find(directory.path()).expect("it is there");
        let (_, newest) = found.newest.expect("there are others");
        assert_eq!((newest.position.step, found.damaged.len()), (50, 1));
        let mut checkpoints = Checkpoints::new(directory.path(), 2, Some(&newest));
        checkpoints.write(&checkpoint(55)).expect("there is space");
        assert_eq!(steps(directory.path()), [50, 55, 60]);
        checkpoints.write(&checkpoint(60)).expect("there is space");
        assert_eq!(steps(directory.path()), [55, 60]);
    }

    #[test]
    fn every_damaged_byte_is_noticed() {
        let whole = checkpoint(3);
        let bytes = whole.to_bytes().expect("it serialises");
        assert_eq!(Checkpoint::from_bytes(&bytes).as_ref(), Ok(&whole));
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 4;
            assert!(Checkpoint::from_bytes(&damaged).is_err(), "byte {place}");
            assert!(
                Checkpoint::from_bytes(&bytes[..place]).is_err(),
                "cut at {place}"
            );
        }
    }
}
