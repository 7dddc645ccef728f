//! Cases on several threads, each with a device of its own.
//!
//! A driver that computes on the CPU compiles a shader when it is first dispatched, on the one
//! thread of the device's queue. Several devices of one adapter compile on several cores.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::{Case, Report, Row};
use crate::backend::OpenDevice;
use crate::error::Result;

/// The results of one case by kernel, with the case's index.
type CaseRows = (usize, Result<BTreeMap<&'static str, Row>>);

/// Plays `cases`, one thread for each of `devices`, which are devices of one adapter with the same
/// tuning. The report does not depend on their number. `dump` is that of [`Case::check`].
///
/// # Errors
/// Those of [`Case::check`]. Further cases are then not played.
pub fn check_all(cases: &[Case], devices: &[OpenDevice], dump: Option<&Path>) -> Result<Report> {
    let families = Mutex::new(families(cases));
    let check = |device: &OpenDevice| {
        let mut checked: Vec<CaseRows> = vec![];
        let next = || {
            let mut families = families.lock().unwrap_or_else(PoisonError::into_inner);
            families.pop_front()
        };
        while let Some(family) = next() {
            for index in family {
                let rows = cases[index].rows(device, dump);
                let failed = rows.is_err();
                checked.push((index, rows));
                if failed {
                    let mut families = families.lock().unwrap_or_else(PoisonError::into_inner);
                    families.clear();
                    return checked;
                }
            }
        }
        checked
    };
    let mut checked: Vec<CaseRows> = std::thread::scope(|scope| {
        let threads: Vec<_> = devices
            .iter()
            .map(|device| scope.spawn(|| check(device)))
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined
            .flat_map(|checked| checked.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    checked.sort_by_key(|(index, _)| *index);
    let mut report = Report::default();
    for (_, rows) in checked {
        report.add(rows?);
    }
    Ok(report)
}

/// Returns the indices of the cases of each family, the largest family first. A device takes whole
/// families, so that few shaders are compiled on more than one device.
fn families(cases: &[Case]) -> VecDeque<Vec<usize>> {
    let mut families: Vec<Vec<usize>> = vec![];
    for (index, case) in cases.iter().enumerate() {
        let known = families
            .iter_mut()
            .find(|family| cases[family[0]].family == case.family);
        match known {
            Some(family) => family.push(index),
            None => families.push(vec![index]),
        }
    }
    families.sort_by_key(|family| std::cmp::Reverse(family.len()));
    families.into()
}
