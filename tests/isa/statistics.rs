//! Compilation of the dumped SPIR-V by a Vulkan driver, and the driver's statistics.

// Vulkan is an unsafe interface.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::fs;
use std::path::Path;

use ash::khr::pipeline_executable_properties;
use ash::{Device, Entry, Instance, vk};
use serde_json::{Map, Value, json};

const STORAGE: vk::DescriptorType = vk::DescriptorType::STORAGE_BUFFER;
const UNIFORM: vk::DescriptorType = vk::DescriptorType::UNIFORM_BUFFER_DYNAMIC;

/// Compiles the shaders of `profile` and writes one line of JSON for each to `out`, as soon as it
/// is compiled: a driver that ends the program shows with which shader.
pub fn write(folder: &Path, profile: &str, out: &Path) {
    let index = fs::read_to_string(folder.join("index.json")).expect("the dump is there");
    let index: Vec<Value> = serde_json::from_str(&index).expect("the dump is whole");
    let driver = Driver::open();
    let about = json!({ "device": driver.name, "compiler": driver.version });
    let mut lines = vec![about.to_string()];
    let is_own = |each: &&Value| {
        let profiles = each["profiles"].as_array().expect("a list");
        profiles.iter().any(|name| name == profile)
    };
    for each in index.iter().filter(is_own) {
        let stem = each["stem"].as_str().expect("a text");
        let spirv = fs::read(folder.join(format!("{stem}.spv"))).expect("the dump is whole");
        let bindings = each["access"].as_array().expect("a list").len();
        let statistics = driver.compile(&spirv, bindings as u32);
        lines.push(json!({ "name": each["name"], "executables": statistics }).to_string());
        fs::write(out, lines.join("\n") + "\n").expect("the file can be written");
    }
}

/// The first device of the Vulkan loader.
struct Driver {
    name: String,
    /// Of the driver, as it calls it.
    version: String,
    device: Device,
    executables: pipeline_executable_properties::Device,
    // Kept loaded as long as the device.
    _instance: Instance,
    _entry: Entry,
}

impl Driver {
    fn open() -> Driver {
        // SAFETY: the calls follow the Vulkan specification; every handle is of this instance and
        // lives until the process ends.
        unsafe {
            let entry = Entry::load().expect("the Vulkan loader libvulkan.so.1 is installed");
            let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
            let info = vk::InstanceCreateInfo::default().application_info(&application);
            let instance = entry.create_instance(&info, None).expect("an instance");
            let devices = instance.enumerate_physical_devices().expect("a device");
            let physical = *devices.first().expect("the driver has a device");
            let mut about = vk::PhysicalDeviceDriverProperties::default();
            let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut about);
            instance.get_physical_device_properties2(physical, &mut properties);
            let name = text(&properties.properties.device_name);
            let queue = [vk::DeviceQueueCreateInfo::default().queue_priorities(&[1.0])];
            let extensions = [pipeline_executable_properties::NAME.as_ptr()];
            let mut reported = vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default()
                .pipeline_executable_info(true);
            let mut small = vk::PhysicalDeviceVulkan12Features::default();
            let mut supported = vk::PhysicalDeviceFeatures2::default().push_next(&mut small);
            instance.get_physical_device_features2(physical, &mut supported);
            let has_halves = small.shader_float16 != 0;
            let mut small =
                vk::PhysicalDeviceVulkan12Features::default().shader_float16(has_halves);
            let mut core = vk::PhysicalDeviceVulkan13Features::default()
                .subgroup_size_control(true)
                .shader_zero_initialize_workgroup_memory(true);
            let info = vk::DeviceCreateInfo::default()
                .queue_create_infos(&queue)
                .enabled_extension_names(&extensions)
                .push_next(&mut reported)
                .push_next(&mut small)
                .push_next(&mut core);
            let device = instance.create_device(physical, &info, None);
            let device = device.expect("the driver reports statistics of pipelines");
            Driver {
                name,
                version: text(&about.driver_info),
                executables: pipeline_executable_properties::Device::new(&instance, &device),
                device,
                _instance: instance,
                _entry: entry,
            }
        }
    }

    /// Returns the layout of storage bindings in group 0 and a uniform in group 1.
    fn layout(&self, bindings: u32) -> vk::PipelineLayout {
        let binding = |binding, kind| {
            vk::DescriptorSetLayoutBinding::default()
                .binding(binding)
                .descriptor_type(kind)
                .descriptor_count(1)
                .stage_flags(vk::ShaderStageFlags::COMPUTE)
        };
        let storage: Vec<_> = (0..bindings).map(|index| binding(index, STORAGE)).collect();
        let groups = [storage, vec![binding(0, UNIFORM)]];
        // SAFETY: the descriptions live until the calls return.
        unsafe {
            let sets = groups.map(|bindings| {
                let info = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
                let set = self.device.create_descriptor_set_layout(&info, None);
                set.expect("a layout of bindings")
            });
            let info = vk::PipelineLayoutCreateInfo::default().set_layouts(&sets);
            let layout = self.device.create_pipeline_layout(&info, None);
            layout.expect("a layout of groups")
        }
    }

    /// Compiles a shader as wgpu does, and returns the statistics of what the driver made of it.
    fn compile(&self, spirv: &[u8], bindings: u32) -> Vec<Value> {
        let words: Vec<u32> = (spirv.chunks_exact(4))
            .map(|bytes| u32::from_le_bytes(bytes.try_into().expect("four bytes")))
            .collect();
        let layout = self.layout(bindings);
        // SAFETY: naga wrote the module for bindings of this layout.
        unsafe {
            let info = vk::ShaderModuleCreateInfo::default().code(&words);
            let module = self.device.create_shader_module(&info, None);
            let stage = vk::PipelineShaderStageCreateInfo::default()
                .flags(vk::PipelineShaderStageCreateFlags::ALLOW_VARYING_SUBGROUP_SIZE)
                .stage(vk::ShaderStageFlags::COMPUTE)
                .module(module.expect("a module"))
                .name(c"main");
            let info = vk::ComputePipelineCreateInfo::default()
                .flags(vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR)
                .stage(stage)
                .layout(layout);
            let cache = vk::PipelineCache::null();
            let made = self.device.create_compute_pipelines(cache, &[info], None);
            let pipeline = made.expect("the driver compiles the shader")[0];
            let info = vk::PipelineInfoKHR::default().pipeline(pipeline);
            let executables = self.executables.get_pipeline_executable_properties(&info);
            let executables = executables.expect("statistics").into_iter().enumerate();
            executables
                .map(|(index, properties)| {
                    let info = vk::PipelineExecutableInfoKHR::default()
                        .pipeline(pipeline)
                        .executable_index(index as u32);
                    let statistics = self.executables.get_pipeline_executable_statistics(&info);
                    json!({
                        "name": text(&properties.name),
                        "subgroup": properties.subgroup_size,
                        "statistics": by_name(&statistics.expect("statistics")),
                    })
                })
                .collect()
        }
    }
}

fn by_name(statistics: &[vk::PipelineExecutableStatisticKHR]) -> Map<String, Value> {
    let value = |each: &vk::PipelineExecutableStatisticKHR| {
        // SAFETY: the format says which member the driver wrote.
        unsafe {
            match each.format {
                vk::PipelineExecutableStatisticFormatKHR::BOOL32 => (each.value.b32 != 0).into(),
                vk::PipelineExecutableStatisticFormatKHR::INT64 => each.value.i64.into(),
                vk::PipelineExecutableStatisticFormatKHR::UINT64 => each.value.u64.into(),
                _ => Value::from(each.value.f64),
            }
        }
    };
    let entries = statistics
        .iter()
        .map(|each| (text(&each.name), value(each)));
    entries.collect()
}

fn text(characters: &[std::ffi::c_char]) -> String {
    let bytes: Vec<u8> = characters.iter().map(|&c| c as u8).collect();
    let text = CStr::from_bytes_until_nul(&bytes).expect("texts of Vulkan end with 0");
    text.to_string_lossy().into_owned()
}
