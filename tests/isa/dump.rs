//! Every specialisation of every shape for every kind of hardware, and the files of each.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use gatescan::Cell;
use gatescan::low_level::kernels::{
    Access, Call, ScanBackward, ScanForward, ScanNormBackward, ScanNormForward, StepBackward,
    StepForward,
};
use gatescan::low_level::program::Phase;
use serde_json::{Value, json};

use crate::hardware::PROFILES;
use crate::shapes::programs;
use crate::translate::Translated;

/// A kernel's WGSL with its constants, as the library hands it to wgpu.
#[derive(Debug)]
pub struct Specialisation {
    /// Names it in tables and files; the constants are part of it.
    pub name: String,
    pub kernel: &'static str,
    pub source: String,
    /// The same with the directives that the standard asks for.
    pub standard_source: String,
    pub constants: Vec<(&'static str, f64)>,
    /// Whether wgpu adds checks of bounds and loops.
    pub checked: bool,
    /// How the storage bindings are used, in order.
    pub access: Vec<Access>,
    /// The kinds of hardware whose tuning uses it.
    pub profiles: BTreeSet<&'static str>,
}

/// Returns each specialisation once, in the order of the names.
pub fn specialisations() -> Vec<Specialisation> {
    let mut found: BTreeMap<(String, String), Specialisation> = BTreeMap::new();
    for profile in PROFILES {
        for program in programs(&profile) {
            for call in Phase::ALL.iter().flat_map(|&phase| program.calls(phase)) {
                let each = Specialisation::new(call);
                let key = (each.name.clone(), each.source.clone());
                let each = found.entry(key).or_insert(each);
                each.profiles.insert(profile.name);
            }
        }
    }
    found.into_values().collect()
}

impl Specialisation {
    fn new(call: &Call) -> Specialisation {
        let kernel = call.kernel();
        let shader = kernel.shader();
        let source = shader.source();
        let checked = !kernel.bounds_are_proved();
        let mut words = vec![kernel.name().to_string()];
        words.extend(cell(call).map(|cell| cell.spec().name.to_string()));
        words.extend(variants(kernel.name(), &source));
        words.extend(
            shader
                .constants
                .iter()
                .map(|(name, value)| format!("{name}={value}")),
        );
        if checked {
            words.push("checked".into());
        }
        Specialisation {
            name: words.join(" "),
            kernel: kernel.name(),
            source,
            standard_source: shader.standard_source(),
            constants: shader.constants,
            checked,
            access: kernel.args().iter().map(|arg| arg.access).collect(),
            profiles: BTreeSet::new(),
        }
    }

    /// The stem of its files.
    pub fn stem(&self) -> String {
        self.name.replace(' ', "-")
    }

    fn json(&self, translated: &Translated) -> Value {
        let constants: serde_json::Map<String, Value> = (self.constants.iter())
            .map(|&(name, value)| (name.to_string(), value.into()))
            .collect();
        let access = self.access.iter().map(|&access| match access {
            Access::Read => "read",
            Access::Write => "write",
        });
        json!({
            "name": self.name,
            "stem": self.stem(),
            "kernel": self.kernel,
            "constants": constants,
            "access": access.collect::<Vec<_>>(),
            "profiles": self.profiles,
            "invocations": translated.invocations,
        })
    }
}

/// Returns the cell of a scan or step.
fn cell(call: &Call) -> Option<Cell> {
    match call {
        Call::ScanForward(ScanForward { layer, .. })
        | Call::ScanBackward(ScanBackward { layer, .. })
        | Call::ScanNormForward(ScanNormForward { layer, .. })
        | Call::ScanNormBackward(ScanNormBackward { layer, .. })
        | Call::StepForward(StepForward { layer, .. })
        | Call::StepBackward(StepBackward { layer, .. }) => Some(layer.cell),
        _ => None,
    }
}

/// Returns the names of the source files that a kernel chooses among, and the sizes in generated
/// declarations.
fn variants(kernel: &str, source: &str) -> Vec<String> {
    let folder = |name: &str| {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("shaders")
            .join(name)
    };
    let folders: &[&str] = match kernel {
        "gemm" => &["gemm"],
        "gather" | "arrange" | "lookup" | "lookup_gradient" => &["common"],
        _ => &[],
    };
    let mut names = vec![];
    for name in folders {
        let mut paths: Vec<_> = (fs::read_dir(folder(name)).expect("the folder is there"))
            .map(|file| file.expect("the folder can be read").path())
            .collect();
        paths.sort();
        for path in paths {
            let text = fs::read_to_string(&path).expect("shaders are text");
            if source.contains(&text) {
                let stem = path.file_stem().expect("files have names");
                names.push(stem.to_string_lossy().into_owned());
            }
        }
    }
    let sizes: &[&str] = match kernel {
        "scan_forward" | "scan_backward" => &[
            "SEQUENCES",
            "GROUPS",
            "EACH",
            "LANES",
            "REGISTERS",
            "HALVES",
        ],
        _ => &[],
    };
    for size in sizes {
        let declaration = format!("const {size} = ");
        if let Some((_, rest)) = source.split_once(&declaration) {
            let value = rest.split(['u', ';']).next().unwrap_or_default();
            // The usual ones are not named.
            if !matches!((*size, value), ("SEQUENCES", "4") | ("REGISTERS", "0")) {
                names.push(format!("{size}={value}"));
            }
        }
    }
    names
}

/// Writes the files of every specialisation and `index.json`, which lists them.
pub fn write(folder: &Path) {
    fs::create_dir_all(folder).expect("the folder can be made");
    let mut index = vec![];
    for each in specialisations() {
        let translated = Translated::new(&each);
        let put = |extension: &str, bytes: &[u8]| {
            let path = folder.join(format!("{}.{extension}", each.stem()));
            fs::write(path, bytes).expect("the file can be written");
        };
        put("wgsl", each.standard_source.as_bytes());
        put("spv", &translated.spirv);
        put("hlsl", translated.hlsl.as_bytes());
        put("metal", translated.msl.as_bytes());
        index.push(each.json(&translated));
    }
    println!("{} specialisations", index.len());
    let text = serde_json::to_string_pretty(&index).expect("plain data");
    fs::write(folder.join("index.json"), text).expect("the file can be written");
}
