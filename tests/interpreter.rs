//! The interpreter of WGSL: every kernel passes on every profile.

use std::collections::BTreeMap;
use std::time::Instant;

use gatescan::OpenDevice;
use gatescan::low_level::backend::interpreter::{InterpreterDevice, Profile};
use gatescan::verify::{Effort, Report, sweep};

#[test]
fn trial() {
    let names = std::env::var("TRIAL_AS").unwrap_or("nvidia".into());
    let prefix = std::env::var("TRIAL_CASE").unwrap_or_default();
    for name in names.split(',') {
        let profile = Profile::named(name).unwrap();
        let device = InterpreterDevice::new(profile);
        let opened = OpenDevice::Interpreter(Box::new(device.clone()));
        let start = Instant::now();
        let mut errors: BTreeMap<String, (usize, String)> = BTreeMap::new();
        let mut report = Report::default();
        let mut slow = vec![];
        for case in sweep(Effort::Quick) {
            if !case.id.starts_with(&prefix) {
                continue;
            }
            let begin = Instant::now();
            if let Err(error) = case.check(&opened, &mut report, None) {
                let entry = errors.entry(error.to_string().chars().take(90).collect());
                let entry = entry.or_insert((0, format!("{}: {error}", case.id)));
                entry.0 += 1;
            }
            slow.push((begin.elapsed().as_millis(), case.id.clone()));
        }
        slow.sort();
        slow.reverse();
        println!("{name}: {} cases in {:.1} s", report.cases, start.elapsed().as_secs_f64());
        println!("{:?}", &slow[..slow.len().min(8)]);
        for (count, text) in errors.values() {
            println!("{count} x {}", text.chars().take(1500).collect::<String>());
        }
        for failure in report.failures.iter().take(5) {
            println!("{failure}");
        }
        println!("zeros: {:?}", device.readers_of_zeros());
    }
}
