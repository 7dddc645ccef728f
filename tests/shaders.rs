//! Tests of the WGSL of every kernel in every specialisation that a program can use: it is valid,
//! it translates to SPIR-V, MSL and HLSL, it respects the WebGPU default limits, and its bindings
//! match the Rust kernel. Needs no GPU.

#[path = "common/recorded.rs"]
mod recorded;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use gatescan::low_level::backend::tuning::{Route, Tuning};
use gatescan::low_level::kernels::{
    Access, Arg, BackwardStage, Call, Gemm, Kernel, Matrix, NormWeights, Recurrence, RowsEach,
    Scalar, ScanBackward, ScanForward, ScanNormBackward, ScanNormForward, StepBackward,
    StepForward, Tile,
};
use gatescan::low_level::program::{Phase, Program};
use gatescan::low_level::record::{Gradients, RecordedNetwork};
use gatescan::low_level::tensor::{Element, Kind, Tensor};
use gatescan::network::{Activation, Bias, Dropout, Init, NamedHead};
use gatescan::{Cell, Head, Input, Layer, Loss, Network, Reads};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, ScalarKind, ShaderStage, StorageAccess, TypeInner};

use recorded::{BatchSizes, loading, optimizers};

/// The limits that every WebGPU device supports.
const STORAGE_BINDINGS: usize = 8;
const INVOCATIONS: u32 = 256;
const WORKGROUP_MEMORY: u32 = 16384;
/// Bytes that the executor reserves for the uniform buffer of one kernel call.
const UNIFORM: u32 = 256;

/// Hidden sizes around the limits of a scan's workgroup size and memory, for every cell.
const HIDDEN_SIZES: [usize; 12] = [1, 31, 32, 33, 64, 200, 256, 257, 341, 342, 512, 513];

/// Hidden and projection sizes; the last two are around the limit of a scan's workgroup memory.
const PROJECTIONS: [[usize; 2]; 4] = [[1, 1], [65, 257], [200, 224], [200, 225]];

/// Lanes of the forward pass, elements and lanes of the backward pass.
const LANES: [[usize; 3]; 5] = [[4, 4, 16], [4, 1, 4], [2, 4, 8], [2, 1, 2], [8, 2, 16]];

/// The WGSL of a kernel call and its description in Rust.
struct Specialisation {
    name: &'static str,
    source: String,
    parts: Vec<Cow<'static, str>>,
    constants: Vec<(&'static str, f64)>,
    /// Name, access and element type of each argument. The element type is `None` for a
    /// placeholder: a tensor that is bound a second time in place of an absent argument.
    args: Vec<(&'static str, Access, Option<Element>)>,
    uniform: Vec<(&'static str, Scalar)>,
}

impl Specialisation {
    fn new(program: &Program, kernel: &dyn Kernel) -> Self {
        let shader = kernel.shader();
        let args = kernel.args();
        let element = |(index, arg): (usize, &Arg)| {
            let is_placeholder = args[..index].iter().any(|other| other.tensor == arg.tensor);
            (!is_placeholder).then(|| program.buffer_of(&arg.tensor).element)
        };
        Specialisation {
            name: kernel.name(),
            source: shader.source(),
            parts: shader.parts,
            constants: shader.constants,
            args: (args.iter().enumerate())
                .map(|(index, arg)| (arg.name, arg.access, element((index, arg))))
                .collect(),
            uniform: kernel.uniform(),
        }
    }

    /// Parses and validates the WGSL, and substitutes the pipeline constants of the call.
    fn module(&self) -> (Module, ModuleInfo) {
        let name = self.name;
        let module = naga::front::wgsl::parse_str(&self.source)
            .unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(&self.source)));
        let capabilities = Capabilities::SUBGROUP | Capabilities::SHADER_FLOAT16;
        let info = Validator::new(ValidationFlags::all(), capabilities)
            .validate(&module)
            .unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(&self.source)));
        let constants = self.constants.iter();
        let constants = constants
            .map(|&(name, value)| (name.to_string(), value))
            .collect();
        let main = Some((ShaderStage::Compute, "main"));
        let (module, info) =
            naga::back::pipeline_constants::process_overrides(&module, &info, main, &constants)
                .unwrap_or_else(|error| panic!("{name} with {constants:?}: {error}"));
        (module.into_owned(), info.into_owned())
    }
}

/// Returns each specialisation once. Calls that differ only in sizes share a specialisation.
fn specialisations() -> Vec<Specialisation> {
    let mut found = BTreeMap::new();
    for program in programs() {
        for call in Phase::ALL.iter().flat_map(|&phase| program.calls(phase)) {
            let each = Specialisation::new(&program, call.kernel());
            let key = (
                each.source.clone(),
                format!("{:?}{:?}", each.constants, each.args),
            );
            found.entry(key).or_insert(each);
        }
    }
    found.into_values().collect()
}

/// Returns the shaders that measure device limits for a profile, and the canary of each submission.
fn ceilings() -> impl Iterator<Item = Specialisation> {
    let sources = [
        ("copy", include_str!("../shaders/ceilings/copy.wgsl")),
        (
            "multiply_add",
            include_str!("../shaders/ceilings/multiply_add.wgsl"),
        ),
        ("empty", include_str!("../shaders/ceilings/empty.wgsl")),
        (
            "iterations",
            include_str!("../shaders/ceilings/iterations.wgsl"),
        ),
        ("canary", include_str!("../shaders/device/canary.wgsl")),
        (
            "neighbours",
            include_str!("../shaders/device/neighbours.wgsl"),
        ),
    ];
    sources.into_iter().map(|(name, source)| Specialisation {
        name,
        source: source.into(),
        parts: vec![source.into()],
        constants: vec![],
        args: vec![],
        uniform: vec![],
    })
}

/// Returns programs that together use every kernel in every specialisation.
fn programs() -> Vec<Program> {
    let mut programs = vec![loading()];
    for cell in Cell::ALL {
        let projects = cell.spec().options.projection;
        for hidden_size in HIDDEN_SIZES {
            let network = network(cell, hidden_size, Loss::CrossEntropy, Reads::Last);
            programs.push(recorded(&network, Gradients::OfLoss, Tuning::default()));
        }
        // Uses the largest tiles, for any number of threads.
        let tiled = Tuning {
            workgroups: 1,
            ..Tuning::default().software()
        };
        let wide = network(cell, 32, Loss::CrossEntropy, Reads::Last);
        programs.push(recorded(&wide, Gradients::OfLoss, tiled));
        // Lanes of a subgroup share sums, weights are cached in workgroup memory, and invocations
        // of a matmul compute few rows.
        for [lanes, each, back_lanes] in LANES {
            let shared = Tuning {
                tile: Tile {
                    lanes,
                    each,
                    back_lanes,
                    memory: WORKGROUP_MEMORY as usize,
                    ..Tile::SMALLEST
                },
                gemm_rows: RowsEach::Four,
                ..Tuning::default()
            };
            programs.push(recorded(&wide, Gradients::OfLoss, shared));
            if projects {
                let mut projected = wide.clone();
                projected.layers[0].projection_size = Some(3);
                programs.push(recorded(&projected, Gradients::OfLoss, shared));
            }
        }
        // Workgroups of one or two sequences, with weights in registers.
        for (sequences, lanes, halves) in
            [(1, 1, false), (1, 4, true), (2, 1, false), (2, 4, false)]
        {
            let few = Tuning {
                cores: usize::MAX,
                tile: Tile {
                    sequences,
                    registers: 24,
                    halves,
                    lanes,
                    each: 2,
                    back_lanes: 2 * lanes,
                    ..Tile::SMALLEST
                },
                ..Tuning::default()
            };
            programs.push(recorded(&wide, Gradients::OfLoss, few));
        }
        let mut both = network(cell, 7, Loss::CrossEntropy, Reads::Last);
        both.layers[1].bidirectional = true;
        programs.push(recorded(&both, Gradients::OfLoss, Tuning::default()));
        if projects {
            for [hidden_size, outputs] in PROJECTIONS {
                let mut network = network(cell, hidden_size, Loss::CrossEntropy, Reads::Last);
                network.layers[0].projection_size = Some(outputs);
                programs.push(recorded(&network, Gradients::OfLoss, Tuning::default()));
            }
        }
        for input in [
            Input::OneHot,
            Input::Embedding {
                size: 4,
                padding_idx: Some(0),
                init: Init::Torch,
                tied: false,
            },
        ] {
            let mut tokens = network(cell, 7, Loss::CrossEntropy, Reads::Every);
            tokens.input = input;
            programs.push(recorded(&tokens, Gradients::OfLoss, Tuning::default()));
        }
        for route in [Route::Scan, Route::Step] {
            let tuning = Tuning {
                route: Some(route),
                ..Tuning::default()
            };
            for loss in [Loss::CrossEntropy, Loss::MeanSquaredError] {
                for reads in [Reads::Last, Reads::Every] {
                    for gradients in [Gradients::None, Gradients::OfLoss, Gradients::OfUpstream] {
                        programs.push(recorded(&network(cell, 7, loss, reads), gradients, tuning));
                    }
                }
            }
            for reads in Reads::ALL {
                let network = network(cell, 7, Loss::CrossEntropy, reads);
                programs.push(recorded(&network, Gradients::OfLoss, tuning));
            }
            let chunks = Tuning {
                recompute: Some(1),
                ..tuning
            };
            let plain = network(cell, 7, Loss::CrossEntropy, Reads::Last);
            programs.push(recorded(&plain, Gradients::OfLoss, chunks));
            let mut several = network(cell, 7, Loss::Heads, Reads::Every);
            let head = |name: &str, size, loss| NamedHead {
                name: name.into(),
                size,
                loss,
                weight: 0.5,
            };
            several.heads = vec![
                head("class", 3, Loss::CrossEntropy),
                head("value", 2, Loss::MeanSquaredError),
            ];
            several.head.size = 5;
            programs.push(recorded(&several, Gradients::OfLoss, tuning));
            for loss in other_losses() {
                let reads = if loss.takes_lists() {
                    Reads::Every
                } else {
                    Reads::Last
                };
                let mut network = network(cell, 7, loss, reads);
                network.head.size = 6;
                programs.push(recorded(&network, Gradients::OfLoss, tuning));
            }
            let mut drops = network(cell, 7, Loss::CrossEntropy, Reads::Last);
            drops.layers[1].dropout = Dropout {
                input_keep_prob: 0.5,
                output_keep_prob: 0.5,
                state_keep_prob: 0.5,
                ..Dropout::default()
            };
            programs.push(recorded(&drops, Gradients::OfLoss, tuning));
            let mut noise = network(cell, 7, Loss::CrossEntropy, Reads::Last);
            noise.layers[1].zoneout = 0.5;
            if cell.spec().recurrent_gates > 0 {
                noise.layers[1].recurrent_dropout = 0.5;
            }
            noise.layers[0].learn_initial_state = true;
            if cell.spec().options.layer_norm.is_some() && route == Route::Scan {
                let mut norms = network(cell, 70, Loss::CrossEntropy, Reads::Last);
                norms.layers[0].layer_norm = true;
                norms.layers[0].activation = Activation::Softsign;
                programs.push(recorded(&norms, Gradients::OfLoss, tuning));
            }
            programs.push(recorded(&noise, Gradients::OfLoss, tuning));
            if projects {
                drops.layers[1].projection_size = Some(3);
                programs.push(recorded(&drops, Gradients::OfLoss, tuning));
                for (size, clip) in [(3, None), (7, Some(0.5)), (90, Some(0.5))] {
                    let mut network = network(cell, 7, Loss::CrossEntropy, Reads::Last);
                    network.layers[0].cell_clip = clip;
                    network.layers[1].projection_size = Some(size);
                    network.layers[1].projection_clip = clip;
                    programs.push(recorded(&network, Gradients::OfLoss, tuning));
                }
            }
        }
    }
    programs
}

/// Returns the losses beside the cross-entropy and the squared error.
fn other_losses() -> [Loss; 6] {
    [
        Loss::MeanAbsoluteError,
        Loss::Huber { delta: 0.5 },
        Loss::quantiles(&[0.1, 0.5, 0.9]).expect("they are levels"),
        Loss::GaussianNll,
        Loss::BinaryCrossEntropy,
        Loss::CTC,
    ]
}

/// Returns a network with two layers of `cell`.
fn network(cell: Cell, hidden_size: usize, loss: Loss, reads: Reads) -> Network {
    let layer = Layer {
        bias: Bias::largest(cell),
        ..Layer::new(cell, hidden_size)
    };
    Network {
        input_size: 3,
        input: Input::Values,
        layers: vec![layer.clone(), layer],
        head: Head {
            size: 5,
            reads,
            loss,
            init: Init::Glorot,
        },
        heads: vec![],
        categories: vec![],
    }
}

/// Records every phase of a training run of a small batch.
fn recorded(network: &Network, gradients: Gradients, tuning: Tuning) -> Program {
    let sizes = BatchSizes {
        steps: 2,
        batch: 13,
    };
    recorded::recorded(network, sizes, gradients, &optimizers(), tuning)
}

/// Returns the stems of the files in `folder` with the given extension.
fn stems(folder: &str, extension: &str) -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let files = std::fs::read_dir(folder).expect("the folder is there");
    files
        .map(|file| file.expect("the folder can be read").path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .map(|path| {
            path.file_stem()
                .expect("files have names")
                .to_string_lossy()
                .into_owned()
        })
        .collect()
}

#[test]
fn every_kernel_has_source_files_and_every_source_file_is_used() {
    let all = specialisations();
    let kernels: BTreeSet<String> = all.iter().map(|each| each.name.to_string()).collect();
    assert_eq!(kernels, stems("shaders", "wgsl"));
    let mut rust = stems("src/kernels", "rs");
    for shared in ["mod", "ctc", "descent", "prepared", "together", "words"] {
        assert!(rust.remove(shared), "{shared}.rs");
    }
    assert_eq!(kernels, rust);
    for folder in ["shaders", "shaders/cells", "shaders/common"] {
        for stem in stems(folder, "wgsl") {
            let path = format!("{}/{folder}/{stem}.wgsl", env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read_to_string(path).expect("the file can be read");
            let used = all
                .iter()
                .any(|each| each.parts.iter().any(|part| part.ends_with(&text)));
            assert!(used, "no kernel uses {folder}/{stem}.wgsl");
        }
    }
}

#[test]
fn hidden_sizes_cover_scan_and_step_kernels_of_every_cell() {
    for cell in Cell::ALL {
        let names: BTreeSet<&str> = HIDDEN_SIZES
            .iter()
            .flat_map(|&size| {
                let network = network(cell, size, Loss::CrossEntropy, Reads::Last);
                let program = recorded(&network, Gradients::OfLoss, Tuning::default());
                program
                    .calls(Phase::Forward)
                    .iter()
                    .map(|call: &Call| call.kernel().name())
                    .collect::<Vec<_>>()
            })
            .collect();
        assert!(
            names.contains("scan_forward") && names.contains("step_forward"),
            "{cell:?}: {names:?}"
        );
    }
}

#[test]
fn every_specialisation_translates_to_spirv_msl_and_hlsl() {
    let has_spirv_val = Command::new("spirv-val").arg("--version").output().is_ok();
    assert!(
        has_spirv_val || std::env::var_os("CI").is_none(),
        "install spirv-val: apt-get install spirv-tools"
    );
    if !has_spirv_val {
        eprintln!("spirv-val is not installed: SPIR-V is written and not checked");
    }
    let folder = tempfile::tempdir().expect("there is room for temporary files");
    let file = folder.path().join("module.spv");
    let main = || Some((ShaderStage::Compute, "main".to_string()));
    let mut all = specialisations();
    all.extend(ceilings());
    for each in &all {
        let name = each.name;
        let (module, info) = each.module();

        use naga::back::{hlsl, msl, spv};
        use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
        // The bounds check policies of wgpu for trusted and for untrusted shaders.
        for checked in [false, true] {
            let policy = match checked {
                true => BoundsCheckPolicy::Restrict,
                false => BoundsCheckPolicy::Unchecked,
            };
            let policies = BoundsCheckPolicies {
                index: policy,
                buffer: policy,
                ..Default::default()
            };
            let entry = spv::PipelineOptions {
                shader_stage: ShaderStage::Compute,
                entry_point: "main".into(),
            };
            // Subgroups need SPIR-V 1.3, MSL 2.1 and shader model 6. wgpu requests these versions
            // on devices that support subgroups.
            let options = spv::Options {
                lang_version: (1, 3),
                bounds_check_policies: policies,
                force_loop_bounding: checked,
                ..Default::default()
            };
            let words = spv::write_vec(&module, &info, &options, Some(&entry))
                .unwrap_or_else(|error| panic!("{name} in SPIR-V: {error}"));
            if has_spirv_val {
                let bytes: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
                std::fs::write(&file, bytes).expect("there is room for temporary files");
                let output = Command::new("spirv-val")
                    .args(["--target-env", "vulkan1.1"])
                    .arg(&file)
                    .output();
                let output = output.expect("spirv-val runs");
                let stderr = String::from_utf8_lossy(&output.stderr);
                assert!(
                    output.status.success(),
                    "{name} with {:?}: {stderr}",
                    each.constants
                );
            }

            let entry = msl::PipelineOptions {
                entry_point: main(),
                ..Default::default()
            };
            let options = msl::Options {
                lang_version: (2, 1),
                bounds_check_policies: policies,
                force_loop_bounding: checked,
                ..Default::default()
            };
            let (text, made) = msl::write_string(&module, &info, &options, &entry)
                .unwrap_or_else(|error| panic!("{name} in MSL: {error}"));
            assert!(
                text.contains("kernel void") && made.entry_point_names.iter().all(Result::is_ok),
                "{name} in MSL"
            );

            let (options, entry) = (
                hlsl::Options {
                    shader_model: hlsl::ShaderModel::V6_0,
                    restrict_indexing: checked,
                    force_loop_bounding: checked,
                    ..Default::default()
                },
                hlsl::PipelineOptions {
                    entry_point: main(),
                },
            );
            let mut text = String::new();
            let made = hlsl::Writer::new(&mut text, &options, &entry)
                .write(&module, &info, None)
                .unwrap_or_else(|error| panic!("{name} in HLSL: {error}"));
            assert!(
                text.contains("numthreads") && made.entry_point_names.iter().all(Result::is_ok),
                "{name} in HLSL"
            );
        }
    }
    println!("{} specialisations", all.len());
}

#[test]
fn bindings_and_uniforms_of_every_specialisation_match_rust() {
    for each in specialisations() {
        let name = each.name;
        let (module, _) = each.module();
        let type_of = |handle| &module.types[handle].inner;
        let scalar = |inner: &TypeInner| match inner {
            TypeInner::Scalar(scalar)
            | TypeInner::Atomic(scalar)
            | TypeInner::Vector { scalar, .. } => (scalar.kind, scalar.width),
            other => panic!("{name}: {other:?} is not a scalar"),
        };

        let mut groups: BTreeMap<(u32, u32), &naga::GlobalVariable> = BTreeMap::new();
        for (_, global) in module.global_variables.iter() {
            if let Some(binding) = &global.binding {
                let location = (binding.group, binding.binding);
                assert!(
                    groups.insert(location, global).is_none(),
                    "{name} binds {location:?} twice"
                );
            }
        }
        let uniform = groups.remove(&(1, 0)).expect("a uniform");
        assert!(each.args.len() <= STORAGE_BINDINGS);
        // A layer without recurrent weights never reads them, and the backward pass of one with
        // layer normalisation no h or, in a GRU, no c.
        let unused = |arg: &str| {
            arg == "weights" || ["h", "c"].contains(&arg) && name == "scan_norm_backward"
        };
        for (index, (arg, access, element)) in each.args.iter().enumerate() {
            let Some(global) = groups.remove(&(0, index as u32)) else {
                assert!(unused(arg), "{name} has no binding {index}, {arg}");
                continue;
            };
            assert_eq!(
                global.name.as_deref(),
                Some(*arg),
                "{name}, binding {index}"
            );
            let expected = match access {
                Access::Read => StorageAccess::LOAD,
                Access::Write => StorageAccess::LOAD | StorageAccess::STORE,
            };
            assert_eq!(
                global.space,
                AddressSpace::Storage { access: expected },
                "{name}: {arg}"
            );
            let TypeInner::Array { base, .. } = *type_of(global.ty) else {
                panic!("{name}: {arg} is not an array");
            };
            let expected = match element {
                Some(Element::Real) => (ScalarKind::Float, 4),
                Some(Element::Index) => (ScalarKind::Uint, 4),
                None => continue,
            };
            assert_eq!(scalar(type_of(base)), expected, "{name}: {arg}");
        }
        assert!(groups.is_empty(), "{name} binds {groups:?}");

        assert_eq!(uniform.space, AddressSpace::Uniform, "{name}");
        let TypeInner::Struct { members, span } = type_of(uniform.ty) else {
            panic!("{name}: the uniform is not a struct");
        };
        assert!(*span <= UNIFORM, "{name} has a uniform of {span} bytes");
        let offsets = each.args.iter().map(|&(arg, ..)| (arg, ScalarKind::Uint));
        let scalars = each.uniform.iter().map(|&(field, value)| match value {
            Scalar::U32(_) => (field, ScalarKind::Uint),
            Scalar::F32(_) => (field, ScalarKind::Float),
        });
        let expected: Vec<_> = offsets
            .chain(scalars)
            .enumerate()
            .map(|(word, (field, kind))| (field, (kind, 4), 4 * word as u32))
            .collect();
        let found: Vec<_> = members
            .iter()
            .map(|m| {
                (
                    m.name.as_deref().expect("members have names"),
                    scalar(type_of(m.ty)),
                    m.offset,
                )
            })
            .collect();
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn every_specialisation_respects_webgpu_limits() {
    let mut largest = 0;
    for each in specialisations() {
        let (module, _) = each.module();
        let [entry] = &module.entry_points[..] else {
            panic!(
                "{} has {} entry points",
                each.name,
                module.entry_points.len()
            );
        };
        assert_eq!(
            (entry.name.as_str(), entry.stage),
            ("main", ShaderStage::Compute),
            "{}",
            each.name
        );
        let invocations: u32 = entry.workgroup_size.iter().product();
        assert!(
            (1..=INVOCATIONS).contains(&invocations),
            "{}: {:?}",
            each.name,
            entry.workgroup_size
        );
        let memory: u32 = module
            .global_variables
            .iter()
            .filter(|(_, global)| global.space == AddressSpace::WorkGroup)
            .map(|(_, global)| {
                module.types[global.ty]
                    .inner
                    .size(module.to_ctx())
                    .next_multiple_of(16)
            })
            .sum();
        let constants = &each.constants;
        assert!(
            memory <= WORKGROUP_MEMORY,
            "{} with {constants:?} takes {memory} bytes",
            each.name
        );
        largest = largest.max(memory);
    }
    // Guards against a sum that is always 0: a scan of the widest layers uses all of the memory.
    assert_eq!(largest, WORKGROUP_MEMORY);
}

/// Matmul and recurrence kernels skip the shader bounds checks. Kernels that use indices from a
/// buffer are always checked.
#[test]
fn host_proves_bounds_of_matmul_and_recurrence_kernels() {
    let hot = [
        "gemm",
        "scan_forward",
        "scan_backward",
        "scan_norm_forward",
        "scan_norm_backward",
        "step_forward",
        "step_backward",
    ];
    for program in programs() {
        for call in Phase::ALL.iter().flat_map(|&phase| program.calls(phase)) {
            let kernel = call.kernel();
            let expected = hot.contains(&kernel.name());
            assert_eq!(kernel.bounds_are_proved(), expected, "{}", kernel.name());
        }
    }
}

/// A call whose sizes do not match its tensors could access memory out of bounds, so its bounds
/// checks stay on.
#[test]
fn bounds_of_inconsistent_sizes_are_not_proved() {
    let network = network(Cell::LstmPeephole, 24, Loss::CrossEntropy, Reads::Last);
    let model = RecordedNetwork::new(&network, 5, 6, Gradients::OfLoss, Tuning::default())
        .expect("the network is valid");
    let layer = model.recurrences().next().expect("it has layers");
    let shrink = |tensor: &mut Tensor| *tensor = tensor.part(0, [tensor.len() - 1]);
    type Edit<'a> = (&'a str, &'a dyn Fn(&mut Recurrence));
    let edits: [Edit; 16] = [
        ("steps", &|layer| layer.steps += 1),
        ("batch", &|layer| layer.batch += 1),
        ("hidden_size", &|layer| layer.hidden_size += 1),
        ("output_size", &|layer| layer.output_size += 1),
        ("recurrent", &|layer| shrink(&mut layer.weights.recurrent)),
        ("forward_weights", &|layer| {
            shrink(&mut layer.weights.packed_forward);
        }),
        ("peephole", &|layer| layer.weights.peephole = None),
        ("gates", &|layer| shrink(&mut layer.gates)),
        ("h", &|layer| shrink(&mut layer.states.h)),
        ("c", &|layer| shrink(&mut layer.states.c)),
        ("last", &|layer| shrink(&mut layer.states.last)),
        ("dstate", &|layer| shrink(&mut layer.gradients.dstate)),
        ("lengths", &|layer| shrink(&mut layer.lengths)),
        ("drops_state", &|layer| layer.options.drops_state = true),
        ("drops_recurrent", &|layer| {
            layer.options.drops_recurrent = true;
        }),
        ("zoneout", &|layer| layer.options.zoneout.h = 0.5),
    ];
    let proved = |layer: Recurrence, t: usize| {
        let (begin, end, stage) = (0, t, 0);
        let calls: [Call; 4] = [
            ScanForward {
                layer: layer.clone(),
                begin,
                end,
            }
            .into(),
            ScanBackward {
                layer: layer.clone(),
                begin,
                end,
            }
            .into(),
            StepForward {
                layer: layer.clone(),
                t: t - 1,
                stage,
            }
            .into(),
            StepBackward {
                layer,
                stage: BackwardStage::Units(t - 1),
            }
            .into(),
        ];
        calls.map(|call| call.kernel().bounds_are_proved())
    };
    assert_eq!(proved(layer.clone(), 5), [true; 4]);
    assert_eq!(proved(layer.clone(), 6), [false; 4], "past the last step");
    for (name, edit) in edits {
        let mut edited = layer.clone();
        edit(&mut edited);
        let forward = name == "dstate";
        assert_eq!(
            proved(edited, 5),
            [forward, false, forward, false],
            "{name}"
        );
    }

    let mut program = Program::new();
    let mut matrix = |len: usize| program.buffer("m", Kind::Activations, Element::Real, [len]);
    let [a, b, c, bias] = [6, 8, 12, 4].map(&mut matrix);
    let matmul = Gemm::new(
        Matrix::new(a, 3, 2),
        Matrix::new(b, 2, 4),
        Matrix::new(c, 3, 4),
    );
    assert!(matmul.clone().bias(Some(bias)).bounds_are_proved());
    assert!(matmul.clone().accumulate().bounds_are_proved());
    let short = matmul.bias(Some(bias.part(0, [3])));
    assert!(!short.bounds_are_proved());
    let transposed = Gemm::new(
        Matrix::new(a, 2, 3).t(),
        Matrix::new(b, 4, 2).t(),
        Matrix::new(c, 3, 4),
    );
    assert!(transposed.bounds_are_proved());
}

/// Gains and shifts that are missing or too short could be read out of bounds.
#[test]
fn bounds_of_missing_gains_and_shifts_are_not_proved() {
    let proved = |layer: &Recurrence| {
        let (begin, end) = (0, 5);
        let forward = ScanNormForward {
            layer: layer.clone(),
            begin,
            end,
        };
        let backward = ScanNormBackward {
            layer: layer.clone(),
            begin,
            end,
        };
        [Call::from(forward), backward.into()].map(|call| call.kernel().bounds_are_proved())
    };
    for cell in [Cell::Lstm, Cell::Gru] {
        let mut network = network(cell, 24, Loss::CrossEntropy, Reads::Last);
        network.layers[0].layer_norm = true;
        let model = RecordedNetwork::new(&network, 5, 6, Gradients::OfLoss, Tuning::default())
            .expect("the network is valid");
        let layer = model.recurrences().next().expect("it has layers");
        let norm = layer.weights.norm.expect("it is normalised");
        assert_eq!(proved(layer), [true; 2], "{cell:?}");
        let shorter = norm.tensor.part(0, [norm.tensor.len() - 1]);
        let edits = [
            None,
            Some(NormWeights {
                tensor: shorter,
                ..norm
            }),
            Some(NormWeights {
                skip: norm.skip + 1,
                ..norm
            }),
        ];
        for weights in edits {
            let mut edited = layer.clone();
            edited.weights.norm = weights;
            assert_eq!(proved(&edited), [false; 2], "{cell:?} {weights:?}");
        }
    }
}

/// The standard asks for a directive where a shader uses subgroups; naga refuses it.
#[test]
fn the_standard_source_enables_subgroups_where_they_are_used() {
    let tile = |lanes| Tuning {
        tile: Tile {
            lanes,
            back_lanes: lanes,
            ..Tile::SMALLEST
        },
        ..Tuning::default()
    };
    for (lanes, expected) in [(1, 0), (4, 2)] {
        let network = network(Cell::Lstm, 32, Loss::CrossEntropy, Reads::Last);
        let program = recorded(&network, Gradients::OfLoss, tile(lanes));
        let calls = Phase::ALL.iter().flat_map(|&phase| program.calls(phase));
        let enabled: BTreeSet<&str> = calls
            .filter(|call| {
                let source = call.kernel().shader().standard_source();
                source.starts_with("enable subgroups;\n")
            })
            .map(|call| call.kernel().name())
            .collect();
        assert_eq!(enabled.len(), expected, "{enabled:?}");
    }
}
