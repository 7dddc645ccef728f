//! Translation of a specialisation with the options of wgpu, as src/backend/gpu/pipelines.rs asks
//! for: workgroup memory is not zeroed. On drivers that check the bounds of buffers themselves, the
//! shaders of checked kernels check only those of arrays.

use naga::back::{hlsl, msl, pipeline_constants::process_overrides, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{Module, ShaderStage};

use crate::dump::Specialisation;

/// A specialisation in the languages of the drivers.
pub struct Translated {
    pub spirv: Vec<u8>,
    pub hlsl: String,
    pub msl: String,
    /// Invocations of a workgroup.
    pub invocations: u32,
}

impl Translated {
    /// # Panics
    /// If naga refuses the shader.
    pub fn new(each: &Specialisation) -> Translated {
        let (module, info) = resolved(each);
        Translated {
            spirv: spirv(&module, &info, each.checked),
            hlsl: hlsl(&module, &info, each.checked),
            msl: msl(&module, &info, each.checked),
            invocations: module.entry_points[0].workgroup_size.iter().product(),
        }
    }
}

/// Parses and validates the WGSL and substitutes its constants.
fn resolved(each: &Specialisation) -> (Module, ModuleInfo) {
    let (name, source) = (&each.name, &each.source);
    let module = naga::front::wgsl::parse_str(source)
        .unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(source)));
    let capabilities = Capabilities::SUBGROUP | Capabilities::SHADER_FLOAT16;
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(source)));
    let constants = each.constants.iter();
    let constants = constants
        .map(|&(name, value)| (name.to_string(), value))
        .collect();
    let main = Some((ShaderStage::Compute, "main"));
    let (module, info) = process_overrides(&module, &info, main, &constants)
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    (module.into_owned(), info.into_owned())
}

fn policies(checked: bool) -> BoundsCheckPolicies {
    BoundsCheckPolicies {
        index: match checked {
            true => BoundsCheckPolicy::Restrict,
            false => BoundsCheckPolicy::Unchecked,
        },
        ..BoundsCheckPolicies::default()
    }
}

fn spirv(module: &Module, info: &ModuleInfo, checked: bool) -> Vec<u8> {
    let options = spv::Options {
        lang_version: (1, 6),
        flags: spv::WriterFlags::empty(),
        bounds_check_policies: policies(checked),
        force_loop_bounding: checked,
        emit_int_div_checks: checked,
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        ..spv::Options::default()
    };
    let entry = spv::PipelineOptions {
        shader_stage: ShaderStage::Compute,
        entry_point: "main".into(),
    };
    let words = spv::write_vec(module, info, &options, Some(&entry)).expect("SPIR-V is written");
    words.into_iter().flat_map(u32::to_le_bytes).collect()
}

fn hlsl(module: &Module, info: &ModuleInfo, checked: bool) -> String {
    let options = hlsl::Options {
        shader_model: hlsl::ShaderModel::V6_0,
        zero_initialize_workgroup_memory: false,
        restrict_indexing: checked,
        force_loop_bounding: checked,
        ..hlsl::Options::default()
    };
    let entry = hlsl::PipelineOptions {
        entry_point: Some((ShaderStage::Compute, "main".into())),
    };
    let mut text = String::new();
    let made = hlsl::Writer::new(&mut text, &options, &entry).write(module, info, None);
    let made = made.expect("HLSL is written");
    // The writer may rename an entry point; DXC is told `main`.
    assert_eq!(made.entry_point_names, [Ok("main".to_string())]);
    text
}

fn msl(module: &Module, info: &ModuleInfo, checked: bool) -> String {
    let options = msl::Options {
        lang_version: (2, 4),
        zero_initialize_workgroup_memory: false,
        bounds_check_policies: policies(checked),
        force_loop_bounding: checked,
        emit_int_div_checks: checked,
        ..msl::Options::default()
    };
    let entry = msl::PipelineOptions {
        entry_point: Some((ShaderStage::Compute, "main".into())),
        ..msl::PipelineOptions::default()
    };
    let (text, _) = msl::write_string(module, info, &options, &entry).expect("MSL is written");
    text
}
