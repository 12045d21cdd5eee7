//! Settings of `testwire listen`.

use super::{Kind, Preset, Setting};

/// Heading of flags that only `testwire listen` has.
pub const LISTENING: &str = "Listening";

/// Address.
pub const LISTEN: Setting = Setting {
    name: "listen",
    kind: Kind::One,
    value: "ADDR",
    preset: Preset::Value("127.0.0.1:8765"),
    group: LISTENING,
    help: "Address and port to listen on",
    more: "Addresses that other machines reach need a token or --allow-open. With port 0 the system chooses one.",
};

/// Token.
pub const TOKEN_FILE: Setting = Setting {
    name: "token-file",
    kind: Kind::One,
    value: "FILE",
    preset: Preset::Unset,
    group: LISTENING,
    help: "File with the token that clients must show; or set TESTWIRE_TOKEN",
    more: "Clients send it as `Authorization: Bearer …`, or put /t/<token> before the path.",
};

/// No token.
pub const ALLOW_OPEN: Setting = Setting {
    name: "allow-open",
    kind: Kind::Switch,
    value: "BOOL",
    preset: Preset::Value("false"),
    group: LISTENING,
    help: "Let everybody in who reaches the address",
    more: "",
};

/// Largest body.
pub const MAX_BODY: Setting = Setting {
    name: "max-body",
    kind: Kind::One,
    value: "SIZE",
    preset: Preset::Value("16MiB"),
    group: LISTENING,
    help: "Largest body of a request, unpacked; from 64KiB to 1GiB",
    more: "A stream of events (POST /v1/events) has no limit.",
};

/// Dead runs.
pub const RUN_TIMEOUT: Setting = Setting {
    name: "run-timeout",
    kind: Kind::One,
    value: "TIME",
    preset: Preset::Value("10m"),
    group: LISTENING,
    help: "After how long without news a run counts as aborted; from 1s",
    more: "",
};

/// Another path.
pub const LOADER_PATH: Setting = Setting {
    name: "loader-path",
    kind: Kind::One,
    value: "PATH",
    preset: Preset::Unset,
    group: LISTENING,
    help: "Another path than /loader at which pytest-rt and nose2rt are heard",
    more: "",
};

/// Size of attachments.
pub const ATTACHMENTS_MAX: Setting = Setting {
    name: "attachments-max",
    kind: Kind::One,
    value: "SIZE",
    preset: Preset::Value("4GiB"),
    group: LISTENING,
    help: "Most bytes of pictures and archives that are kept; the oldest go first",
    more: "They lie in attachments/ below the state directory, and log entries say which is where.",
};

/// Age of attachments.
pub const ATTACHMENTS_AGE: Setting = Setting {
    name: "attachments-age",
    kind: Kind::One,
    value: "TIME",
    preset: Preset::Value("2160h"),
    group: LISTENING,
    help: "How long pictures and archives are kept; at least 1h",
    more: "",
};
