//! What a run ran on, in a few words, so that results can be laid out by it.

use crate::names::meta;

/// The attributes that say it, in the order in which they are shown. Others differ in every run, or say something else.
const PARTS: [&str; 14] = [
    "platform",
    "os",
    "version_name",
    "version",
    "style",
    "flavor",
    "architecture",
    "arch",
    "model",
    "device",
    "is_simulator",
    "browser",
    "python",
    "configuration",
];

/// Of a run's metadata; empty if nothing says it. A version that has a name is known by its name.
pub(super) fn configuration(metadata: &[(String, String)]) -> String {
    let of = |part: &str| {
        let own = |(name, _): &&(String, String)| name.strip_prefix(meta::ATTR_PREFIX) == Some(part);
        metadata.iter().find(own).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    };
    let named = of("version_name").is_some();
    let words = PARTS.iter().filter_map(|part| match (*part, of(part)?) {
        ("version", _) if named => None,
        ("is_simulator", "true" | "True" | "1") => Some("simulator"),
        ("is_simulator", _) => None,
        (_, value) => Some(value),
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::configuration;

    #[test]
    fn it_is_what_the_attributes_say_of_the_system_and_nothing_else() {
        let of = |pairs: &[(&str, &str)]| {
            let owned: Vec<_> = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            configuration(&owned)
        };
        assert_eq!(of(&[("user", "ana"), ("attr_team", "till"), ("platform", "no attribute")]), "");
        assert_eq!(of(&[("attr_browser", "firefox"), ("attr_os", "linux"), ("attr_build", "77")]), "linux firefox");
        let simulated = [
            ("attr_architecture", "x86_64"),
            ("attr_is_simulator", "true"),
            ("attr_platform", "ios"),
            ("attr_style", "release"),
            ("attr_version", "14020000"),
            ("attr_version_name", "iOS 14"),
        ];
        assert_eq!(of(&simulated), "ios iOS 14 release x86_64 simulator");
        assert_eq!(of(&[("attr_version", "11"), ("attr_is_simulator", "false"), ("attr_style", "")]), "11");
    }
}
