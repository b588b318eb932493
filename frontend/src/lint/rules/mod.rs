//! The rules, one file each. A rule is a `const RULE` and a function that reads the scene and reports.

mod invalid_base_image_platform;

mod json_args_recommended;

mod redundant_target_platform;

mod undefined_arg_in_from;

mod undefined_var;

mod workdir_relative_path;

use super::Rule;

/// All rules, by name.
pub static RULES: &[&Rule] = &[
    &invalid_base_image_platform::RULE,
    &json_args_recommended::RULE,
    &redundant_target_platform::RULE,
    &undefined_arg_in_from::RULE,
    &undefined_var::RULE,
    &workdir_relative_path::RULE,
];
