//! Crashes and full disks, simulated.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Write};
use std::rc::Rc;

use safetensors::Dtype;

use super::*;
use crate::io::crc32;
use crate::io::disk::SyncWrite;
use crate::model::file::{CHECKSUM, RUN_KEY, StoredTensor, serialize, to_le_bytes};
use crate::recipe::Recipe;
use crate::train::checkpoint::{MetricsMark, check_size};
use crate::train::{DataChecksums, SplitChecksums};

/// A simulated disk: all written data while the computer runs, less after a crash.
#[derive(Debug, Clone, Default)]
struct DiskState {
    /// The bytes of each file, and how many of them were synced.
    files: Vec<(Vec<u8>, usize)>,
    names: BTreeMap<PathBuf, usize>,
    /// The names that were synced.
    synced_names: BTreeMap<PathBuf, usize>,
    /// Operations that succeed from now on; a written byte is one.
    left: usize,
    /// Whether `sync` reports success without doing anything.
    lies: bool,
}

impl DiskState {
    /// Counts `wanted` operations. Returns how many of them succeed.
    fn spend(&mut self, wanted: usize) -> io::Result<usize> {
        if self.left == 0 {
            return Err(ErrorKind::StorageFull.into());
        }
        let done = wanted.min(self.left);
        self.left -= done;
        Ok(done)
    }

    /// The possible contents after a crash now: names as last synced or as written; of bytes that
    /// were not synced none, some or all.
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

struct FakeDisk(Rc<RefCell<DiskState>>);

struct FakeFile {
    state: Rc<RefCell<DiskState>>,
    file: usize,
}

impl Disk for FakeDisk {
    fn create(&mut self, path: &Path) -> io::Result<Box<dyn SyncWrite>> {
        let mut state = self.0.borrow_mut();
        state.spend(1)?;
        state.files.push((vec![], 0));
        let file = state.files.len() - 1;
        state.names.insert(path.to_path_buf(), file);
        Ok(Box::new(FakeFile {
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

impl Write for FakeFile {
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

impl SyncWrite for FakeFile {
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
        data: DataChecksums::Splits(SplitChecksums {
            train: 7,
            train_with_sizes: 8,
            validation: None,
            test: Some(9),
        }),
        metrics: Some(MetricsMark {
            lines: step as u64,
            crc32: 10,
        }),
        parameters,
        states: vec![],
        best: None,
    }
}

fn on(state: &Rc<RefCell<DiskState>>, keep: usize) -> Checkpoints {
    Checkpoints {
        disk: Box::new(FakeDisk(state.clone())),
        ..Checkpoints::new(Path::new("run"), keep, None)
    }
}

/// The step of each file's contents; `None` for unreadable ones.
type Seen = BTreeMap<Vec<u8>, Option<usize>>;

/// The step of the newest readable file.
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
fn three(keep: usize, lies: bool) -> Rc<RefCell<DiskState>> {
    let state = Rc::new(RefCell::new(DiskState {
        left: usize::MAX,
        lies,
        ..DiskState::default()
    }));
    let mut checkpoints = on(&state, keep);
    for step in 1..=3 {
        checkpoints
            .write(&checkpoint(step))
            .expect("there is space");
    }
    state
}

/// Interrupts the fourth write after each operation and each byte, by a crash and by a full disk.
#[test]
fn a_readable_checkpoint_remains_after_any_interruption() {
    let bytes = checkpoint(4).to_bytes().expect("it serialises").len();
    let mut seen = Seen::new();
    for keep in [1, 2] {
        let operations = bytes + 5;
        let before = three(keep, false).borrow().clone();
        for left in 0..=operations {
            let state = Rc::new(RefCell::new(before.clone()));
            let mut checkpoints = on(&state, keep);
            checkpoints.readable = (1..=3).skip(3 - keep).collect();
            state.borrow_mut().left = left;
            let written = checkpoints.write(&checkpoint(4)).is_ok();
            for found in state.borrow().after_crash() {
                let newest = newest(&found, &mut seen);
                let named = found.keys().filter(|path| step_of(path).is_some()).count();
                assert!(newest >= Some(3), "{left} of {operations}: {newest:?}");
                assert!(!written || newest == Some(4), "{left}: written but missing");
                assert!((1..=keep + 2).contains(&named), "{left}: {named} files");
            }
            // The disk has space again, and the run has continued.
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
            // One more if the disk failed between the rename and its confirmation.
            assert!(
                (keep..=keep + 1).contains(&names.len()),
                "{left}: {names:?}"
            );
        }
        assert!(operations > 1000, "the file is too small to tell anything");
    }
}

/// Shows that the test above can fail.
#[test]
fn a_disk_that_does_not_sync_loses_checkpoints() {
    let crashes = three(1, true).borrow().after_crash();
    let mut seen = Seen::new();
    assert!(
        crashes
            .iter()
            .any(|found| newest(found, &mut seen) != Some(3))
    );
}

#[test]
fn the_last_checkpoints_and_the_best_are_kept() {
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
    // A damaged checkpoint does not count, but remains until newer ones replace it.
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
fn every_damaged_byte_is_detected() {
    let checkpoint = checkpoint(3);
    let bytes = checkpoint.to_bytes().expect("it serialises");
    assert_eq!(Checkpoint::from_bytes(&bytes).as_ref(), Ok(&checkpoint));
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

/// The bytes of a file of version 1, which repeats the metrics of all epochs.
fn version_1(losses: &[f64]) -> Vec<u8> {
    let Checkpoint {
        recipe,
        network,
        parameters,
        ..
    } = checkpoint(3);
    let epochs = losses.iter().enumerate().map(|(n, loss)| {
        serde_json::json!({
            "epoch": n + 1, "train_loss": loss, "train_accuracy": null,
            "train_last_step_loss": null, "test_loss": null, "test_accuracy": null,
            "test_last_step_loss": null, "sequences_per_second": 0.0, "seconds": 0.0,
        })
    });
    let totals = serde_json::json!({
        "loss": 0.5, "hits": 1.0, "labelled": 2.0, "last_loss": 0.0, "last_labelled": 0.0,
    });
    let description = serde_json::json!({
        "version": 1, "network": network, "recipe": recipe, "data_crc32": 7,
        "position": {
            "step": 3, "epochs": epochs.collect::<Vec<_>>(), "best_step": 2,
            "totals": totals, "unreported": 0.25,
        },
    });
    let tensors = [
        StoredTensor {
            name: "parameters".into(),
            dtype: Dtype::F32,
            shape: vec![parameters.len()],
            bytes: to_le_bytes(&parameters),
        },
        StoredTensor {
            name: CHECKSUM.into(),
            dtype: Dtype::U8,
            shape: vec![4],
            bytes: vec![0; 4],
        },
    ];
    let mut bytes = serialize(RUN_KEY, &description, &tensors).expect("it is small");
    let end = bytes.len() - 4;
    let sum = crc32(&[&bytes[..end]]).to_le_bytes();
    bytes[end..].copy_from_slice(&sum);
    bytes
}

#[test]
fn files_of_version_1_are_read_and_those_of_later_versions_refused() {
    let read = Checkpoint::from_bytes(&version_1(&[2.0, 1.0, 1.5])).expect("it is read");
    let position = &read.position;
    assert_eq!((position.step, position.epochs), (3, 3));
    let epoch = |metrics: &Option<crate::train::EpochMetrics>| metrics.as_ref().map(|m| m.epoch);
    assert_eq!(
        (epoch(&position.best), epoch(&position.last)),
        (Some(2), Some(3))
    );
    assert_eq!((read.data, read.metrics), (DataChecksums::Train(7), None));
    // It is written as a file of the new version only with the checksums of all splits.
    assert!(read.to_bytes().is_err());
    let mut later = version_1(&[]);
    let key = b"version\\\":";
    let at = later.windows(key.len()).position(|bytes| bytes == key);
    later[at.expect("it is there") + key.len()] = b'3';
    let problem = Checkpoint::from_bytes(&later).expect_err("it is of a later version");
    assert!(problem.contains("newer gatescan (version 3"), "{problem}");
}

#[test]
fn what_could_not_be_read_back_is_not_written() {
    let mut large = checkpoint(3);
    large.preparation.classes = vec!["x".repeat(1 << 16); 300];
    let problem = large.to_bytes().expect_err("its header is too large");
    assert!(
        problem.contains("gatescan reads at most 16777216"),
        "{problem}"
    );
    let (recipe, network) = (&large.recipe, &large.network);
    let error = check_size(recipe, network, &large.preparation).expect_err("nor is it begun");
    assert!(
        error.is_usage() && error.to_string().contains("could not be saved"),
        "{error}"
    );
    check_size(recipe, network, &checkpoint(3).preparation).expect("it is small");
}
