use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::backend::{ApiStyle, SecretSource, StaticCredentials, SystemConfig};
use super::value::{duration, size, spell_duration};
use super::*;
use crate::model::{LexApiMode, LexModality};

mod access;

const EXAMPLE: &str = include_str!("../../examples/testgate.toml");

fn env(name: &str) -> Option<String> {
    (name == "HOME").then(|| "/home/someone".to_owned())
}

fn parse(text: &str) -> Result<Config, Vec<Problem>> {
    Config::parse(text, Path::new("/etc/testgate"), &Overrides::default(), &env)
}

/// The problems as `line key: message`.
fn problems(text: &str) -> Vec<String> {
    let problems = parse(text).expect_err("the text has problems");
    problems.iter().map(ToString::to_string).collect()
}

/// The one problem of a text.
fn problem(text: &str) -> Problem {
    let mut problems = parse(text).expect_err("the text has a problem");
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems.remove(0)
}

#[track_caller]
fn assert_problem(text: &str, line: usize, key: &str, part: &str) {
    let problem = problem(text);
    assert_eq!((problem.line, problem.key.as_str()), (Some(line), key), "{problem}");
    assert!(problem.message.contains(part), "{problem}");
}

const CONNECT: &str = "[[backend]]\nid = \"c\"\nkind = \"amazon-connect\"\ninstance_id = \"i-1\"\n";
const OPENMETADATA: &str =
    "[[backend]]\nid = \"o\"\nkind = \"openmetadata\"\nbase_url = \"http://om:8585/api\"\n";

#[test]
fn the_example_is_valid_and_shows_the_defaults() {
    let config = parse(EXAMPLE).unwrap();
    assert_eq!(config.server, ServerConfig::default());
    assert_eq!(config.telemetry, TelemetryConfig::default());
    assert_eq!(config.store.path, StorePath::File("/etc/testgate/testgate.redb".into()));
    assert_eq!(config.store.retention, StoreConfig::default().retention);

    let [connect, lex, quality] = config.backends.as_slice() else { panic!("three backends") };
    let bare = parse(CONNECT).unwrap().backends.remove(0);
    assert_eq!(connect.max_requests_per_second, bare.max_requests_per_second);
    assert_eq!(connect.poll_interval, bare.poll_interval);
    assert_eq!(connect.tracking_deadline, bare.tracking_deadline);
    assert_eq!(connect.request_timeout, bare.request_timeout);
    assert_eq!(connect.max_response_size, bare.max_response_size);
    assert_eq!(connect.labels["team"], "voice");
    let SystemConfig::Lex(lex) = &lex.system else { panic!("a Lex backend") };
    assert_eq!(lex.start_defaults.api_mode, Some(LexApiMode::NonStreaming));
    assert_eq!(lex.start_defaults.modality, Some(LexModality::Text));
    let SystemConfig::OpenMetadata(quality) = &quality.system else { panic!("an OpenMetadata backend") };
    assert_eq!(quality.token, Some(SecretSource::File("/run/secrets/openmetadata".into())));
    assert_eq!((quality.api, quality.settle_time), (ApiStyle::Auto, Duration::from_secs(30)));
}

#[test]
fn every_key_in_the_examples_comments_exists() {
    let uncommented: Vec<&str> = EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.starts_with('[') => rest,
            Some(rest)
                if rest.split(" = ").next().is_some_and(|key| !key.contains(' ')) && rest.contains(" = ") =>
            {
                rest
            }
            _ => line,
        })
        .collect();
    let text = uncommented.join("\n");
    assert_ne!(text, EXAMPLE);
    let config = parse(&text).unwrap();
    assert!(config.backends.iter().any(|backend| backend.ca_file.is_some()));
    assert!(config.server.tls.is_some() && config.auth.is_some());
}

#[test]
fn an_empty_file_is_a_gateway_with_defaults() {
    let config = parse("").unwrap();
    assert_eq!(
        config.store.path,
        StorePath::File("/home/someone/.local/state/testgate/testgate.redb".into())
    );
    assert!(config.backends.is_empty());
}

#[test]
fn all_problems_come_at_once_with_their_lines() {
    let text = r#"[server]
listn = "127.0.0.1:1"
drain_timeout = "soon"

[telemetry]
log_level = "loud"

[[backend]]
id = "Bad"
kind = "amazon-conect"
"#;
    assert_eq!(
        problems(text),
        [
            "line 2: server.listn: unknown key; did you mean `listen`?",
            "line 3: server.drain_timeout: \"soon\" is not a duration such as \"250ms\", \"2s\", \"5m\", \"24h\" or \"7d\"",
            "line 6: telemetry.log_level: is not a level: error, warn, info, debug, trace or off",
            "line 9: backend[0].id: \"Bad\" is not a backend id: it must match [a-z][a-z0-9-]{0,62}",
            "line 10: backend[0].kind: \"amazon-conect\" is not one of \"amazon-connect\", \"amazon-lex-v2\", \"openmetadata\"; did you mean \"amazon-connect\"?",
        ]
    );
}

#[test]
fn broken_toml_is_reported_by_line_without_quoting_it() {
    let problems = parse("[server]\ntoken = \"canary-secret\nlisten = 3 4\n").unwrap_err();
    assert_eq!(problems[0].line, Some(2));
    assert!(!format!("{problems:?}").contains("canary-secret"));
}

#[test]
fn where_traces_and_the_audit_log_go_is_checked() {
    let telemetry = |keys: &str| format!("[telemetry]\n{keys}\n");
    let config = parse(&telemetry("otlp_endpoint = \"http://c:4317/\"\naudit_file = \"a.log\"")).unwrap();
    assert_eq!(config.telemetry.otlp_endpoint.as_deref(), Some("http://c:4317"));
    let audit = config.telemetry.audit.unwrap();
    assert_eq!(
        (audit.file.as_path(), audit.max_size, audit.keep),
        (Path::new("/etc/testgate/a.log"), 64 << 20, 9)
    );
    let https = telemetry("otlp_endpoint = \"https://c:4317\"");
    assert_problem(&https, 2, "telemetry.otlp_endpoint", "must start with http://");
    assert_problem(&telemetry("audit_keep = 3"), 2, "telemetry.audit_keep", "without audit_file");
    let small = telemetry("audit_max_size = \"1KiB\"\naudit_file = \"a.log\"");
    assert_problem(&small, 2, "telemetry.audit_max_size", "from 64KiB");
}

#[test]
fn a_running_gateway_says_what_it_cannot_take() {
    let with = |change: &str| parse(&format!("{change}\n{CONNECT}")).unwrap();
    let old = with("");
    let keys = |new: &Config| -> Vec<String> {
        old.needing_restart(new).into_iter().map(|problem| problem.key).collect()
    };
    assert_eq!(keys(&old), Vec::<String>::new());
    assert_eq!(
        keys(&with("[store]\nretention = \"1d\"\n[limits]\nstarts_in_flight = 1")),
        Vec::<String>::new()
    );
    assert_eq!(
        keys(&with("[store]\npath = \"x\"\n[server]\nmax_connections = 5")),
        ["server.max_connections", "store.path"]
    );
    let slower = parse(&format!("{CONNECT}poll_interval = \"9s\"\n")).unwrap();
    assert_eq!(keys(&slower), ["backend c: poll_interval"]);
    // One that is new is nobody's change.
    assert_eq!(keys(&parse(&format!("{CONNECT}{OPENMETADATA}")).unwrap()), Vec::<String>::new());
}

#[test]
fn a_guess_is_made_only_for_near_misses() {
    assert_problem("[servr]\n", 1, "servr", "did you mean `server`?");
    assert_problem("[zebra]\n", 1, "zebra", "unknown key");
    assert_problem(
        &format!("{CONNECT}pol_interval = \"1s\"\n"),
        5,
        "backend[0].pol_interval",
        "`poll_interval`",
    );
}

#[test]
fn secrets_are_refused_with_the_way_out_and_never_repeated() {
    let text = format!("{OPENMETADATA}token = \"canary\"\n");
    assert_problem(&text, 5, "backend[0].token", "`token_env` or `token_file`");
    let text = format!("{CONNECT}secret_access_key = \"canary\"\n");
    assert_problem(&text, 5, "backend[0].secret_access_key", "default chain");
    let text = format!("{OPENMETADATA}token_env = \"eyJhbGciOi.canary\"\n");
    assert_problem(&text, 5, "backend[0].token_env", "name of an environment variable");
    let text = "[[backend]]\nid = \"o\"\nkind = \"openmetadata\"\nbase_url = \"https://u:canary@om/api\"\n";
    assert_problem(text, 4, "backend[0].base_url", "user name or password");
    for text in [
        format!("{OPENMETADATA}token = \"canary\"\n"),
        format!("{OPENMETADATA}token_env = \"eyJhbGciOi.canary\"\n"),
        text.to_owned(),
    ] {
        assert!(!format!("{:?}", parse(&text).unwrap_err()).contains("canary"));
    }
}

#[test]
fn token_file_and_token_env_exclude_each_other() {
    let text = format!("{OPENMETADATA}token_env = \"A\"\ntoken_file = \"b\"\n");
    assert_problem(&text, 5, "backend[0].token_env", "exclude each other");
}

#[test]
fn ids_are_unique() {
    assert_problem(&format!("{CONNECT}{CONNECT}"), 6, "backend[1].id", "line 2 too");
}

#[test]
fn an_instance_arn_is_cut_to_its_id_and_gives_the_region() {
    let with = |rest: &str| {
        format!(
            "[[backend]]\nid = \"c\"\nkind = \"amazon-connect\"\n\
             instance_id = \"arn:aws:connect:eu-west-2:123456789012:instance/abc-1\"\n{rest}"
        )
    };
    let config = parse(&with("")).unwrap();
    let SystemConfig::Connect(connect) = &config.backends[0].system else { panic!("a Connect backend") };
    assert_eq!(connect.instance_id, "abc-1");
    assert_eq!(connect.aws.region.as_deref(), Some("eu-west-2"));
    assert_problem(&with("region = \"us-east-1\"\n"), 5, "backend[0].region", "ARN says \"eu-west-2\"");
}

#[test]
fn a_missing_required_key_is_reported_at_its_table() {
    assert_problem("\n[[backend]]\nkind = \"amazon-lex-v2\"\n", 2, "backend[0].id", "is required");
    assert_problem(
        "[[backend]]\nid = \"c\"\nkind = \"amazon-connect\"\n",
        1,
        "backend[0].instance_id",
        "is required",
    );
    assert_problem("[[backend]]\nid = \"c\"\n", 1, "backend[0].kind", "is required");
}

#[test]
fn a_key_of_another_kind_says_so() {
    let text = format!("{OPENMETADATA}region = \"eu-west-1\"\n");
    assert_problem(&text, 5, "backend[0].region", "no meaning for a backend of kind \"openmetadata\"");
}

#[test]
fn values_out_of_bounds_are_refused() {
    for (line, part) in [
        ("max_requests_per_second = 0", "from 0.001"),
        ("max_requests_per_second = nan", "from 0.001"),
        ("max_requests_per_second = -1.5", "from 0.001"),
        ("poll_interval = \"1ms\"", "from 10ms"),
        ("request_timeout = \"1h\"", "to 5m"),
        ("tracking_deadline = \"99d\"", "to 31d"),
        ("max_response_size = \"2GiB\"", "to 1GiB"),
        ("max_response_size = 4096", "must be a string"),
        ("external_id = \"x\"", "assume_role_arn"),
        ("region = \"Frankfurt!\"", "not a region"),
        ("labels = { team = 3 }", "must be a string"),
    ] {
        let problem = problem(&format!("{CONNECT}{line}\n"));
        assert_eq!(problem.line, Some(5), "{problem}");
        assert!(problem.message.contains(part), "{problem}");
    }
    assert_problem("[server]\nmax_connections = 0\n", 2, "server.max_connections", "from 1 to 1000000");
    let age = "[server]\nmax_connection_age = \"500ms\"\n";
    assert_problem(age, 2, "server.max_connection_age", "from 1s to 30d");
}

#[test]
fn an_address_that_others_reach_needs_consent() {
    let listen = "[server]\nlisten = [\"127.0.0.1:1\",\n\"0.0.0.0:2\"]\n";
    assert_problem(listen, 3, "server.listen", "allow_plaintext = true and server.allow_anonymous = true");
    let half = format!("{listen}allow_plaintext = true\n");
    assert_problem(&half, 3, "server.listen", "set server.allow_anonymous = true");
    assert_problem(
        &format!("{half}[server.tls]\ncert_file = \"c\"\nkey_file = \"k\"\n"),
        3,
        "server.listen",
        "add [auth]",
    );
    let guarded = format!("{listen}[server.tls]\ncert_file = \"c\"\nkey_file = \"k\"\n[auth]\n");
    assert!(parse(&guarded).is_ok());
    assert_problem(&format!("{listen}[auth]\n"), 3, "server.listen", "without TLS;");
    let both = format!("{half}allow_anonymous = true\n");
    assert_eq!(parse(&both).unwrap().server.listen.len(), 2);
    assert!(parse("[server]\nlisten = [\"unix:/run/t.sock\", \"[::1]:0\", \"[::1]:0\"]\n").is_ok());
}

#[test]
fn an_address_stands_once_and_is_well_formed() {
    assert_problem("[server]\nlisten = [\"[::1]:1\", \"[::1]:1\"]\n", 2, "server.listen", "named twice");
    assert_problem("[server]\nlisten = \"localhost:1\"\n", 2, "server.listen", "IP address and a port");
    assert_problem("[server]\nlisten = []\n", 2, "server.listen", "must not be empty");
    assert_problem("[server]\nlisten = 50051\n", 2, "server.listen", "must be a string");
    assert_eq!(parse("[server]\nadmin_listen = \"off\"\n").unwrap().server.admin_listen, None);
}

#[test]
fn flags_beat_variables_which_beat_the_file() {
    let text = "[server]\nlisten = \"127.0.0.1:1\"\ndrain_timeout = \"1s\"\n[store]\npath = \"/file\"\n";
    let env = |name: &str| match name {
        "TESTGATE_LISTEN" => Some("127.0.0.1:2, unix:/run/t.sock".to_owned()),
        "TESTGATE_STORE" => Some("/env".to_owned()),
        _ => None,
    };
    let flags = Overrides { store: Some(":memory:".to_owned()), ..Overrides::default() };
    let config = Config::parse(text, Path::new(""), &flags, &env).unwrap();
    assert_eq!(config.server.listen.len(), 2);
    assert_eq!(config.server.drain_timeout, Duration::from_secs(1));
    assert_eq!(config.store.path, StorePath::Memory);
}

#[test]
fn a_bad_flag_or_variable_is_named() {
    let flags = Overrides { listen: vec!["0.0.0.0:1".to_owned()], ..Overrides::default() };
    let env = |name: &str| (name == "TESTGATE_LOG_FORMAT").then(|| "xml".to_owned());
    let text = "[store]\npath = \":memory:\"\n";
    let problems = Config::parse(text, Path::new(""), &flags, &env).unwrap_err();
    let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["TESTGATE_LOG_FORMAT", "--listen"]);
    assert!(problems.iter().all(|problem| problem.line.is_none()));
}

#[test]
fn the_default_store_follows_systemd_then_xdg() {
    let path = |pairs: &'static [(&str, &str)]| {
        let env = move |name: &str| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        Config::parse("", Path::new(""), &Overrides::default(), &env).map(|config| config.store.path)
    };
    let file = |path: &str| Ok(StorePath::File(path.into()));
    assert_eq!(
        path(&[("STATE_DIRECTORY", "/var/lib/a:/b"), ("HOME", "/h")]),
        file("/var/lib/a/testgate.redb")
    );
    assert_eq!(path(&[("XDG_STATE_HOME", "/x"), ("HOME", "/h")]), file("/x/testgate/testgate.redb"));
    assert_eq!(
        path(&[("XDG_STATE_HOME", "relative"), ("HOME", "/h")]),
        file("/h/.local/state/testgate/testgate.redb")
    );
    assert_eq!(path(&[]).unwrap_err()[0].key, "store.path");
}

#[test]
fn without_a_file_the_store_is_in_memory_unless_named() {
    let config = Config::without_file(Vec::new(), &Overrides::default(), &env).unwrap();
    assert_eq!(config.store.path, StorePath::Memory);
    let flags = Overrides { store: Some("s.redb".to_owned()), ..Overrides::default() };
    let config = Config::without_file(Vec::new(), &flags, &env).unwrap();
    assert_eq!(config.store.path, StorePath::File("s.redb".into()));
}

#[test]
fn the_dump_shows_sources_of_secrets_and_no_secret() {
    let mut config = parse(EXAMPLE).unwrap();
    let secret =
        StaticCredentials { access_key_id: "canary".to_owned(), secret_access_key: "canary".to_owned() };
    if let SystemConfig::Connect(connect) = &mut config.backends[0].system {
        connect.aws.static_credentials = Some(secret);
        connect.aws.external_id = Some("canary".to_owned());
    }
    if let SystemConfig::OpenMetadata(quality) = &mut config.backends[2].system {
        let dump = quality.token.clone();
        assert!(format!("{dump:?}").contains("/run/secrets/openmetadata"));
        quality.token = Some(SecretSource::Fixed("canary".to_owned()));
    }
    let dump = config.redacted();
    assert!(!dump.to_string().contains("canary"));
    assert_eq!(dump["backend"][0]["poll_interval"], "500ms");
    assert_eq!(dump["server"]["listen"][0], "127.0.0.1:50051");
}

#[test]
fn a_missing_or_huge_file_is_a_problem_of_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("testgate.toml");
    let load = || Config::load(&path, &Overrides::default(), &env);
    assert!(load().unwrap_err()[0].message.contains("testgate.toml"));
    std::fs::write(&path, "#".repeat(MAX_FILE_BYTES as usize + 1)).unwrap();
    assert!(load().unwrap_err()[0].message.contains("larger than"));
    std::fs::write(&path, OPENMETADATA.to_owned() + "token_file = \"token\"\n").unwrap();
    let config = load().unwrap();
    let SystemConfig::OpenMetadata(quality) = &config.backends[0].system else { panic!("OpenMetadata") };
    assert_eq!(quality.token, Some(SecretSource::File(folder.path().join("token"))));
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>()) {
        drop(parse(&text));
    }

    #[test]
    fn no_toml_panics(
        table in prop::sample::select(vec!["server", "store", "telemetry", "[backend]", "x"]),
        key in prop::sample::select(vec!["listen", "path", "id", "kind", "labels", "log_level", "retention", "tls", "é"]),
        value in prop::sample::select(vec!["1", "''", "'\u{0}'", "[]", "[1]", "{}", "{a=1}", "nan", "1979-05-27", "'5m'", "'999999999999999999d'", "0xff", "true"]),
    ) {
        drop(parse(&format!("[{table}]\n{key} = {value}\n")));
    }

    #[test]
    fn any_value_text_is_read_or_refused(text in "\\PC{0,40}") {
        drop((duration(&text), size(&text), value::listen(&text), value::url(&text), value::instance(&text)));
    }

    #[test]
    fn durations_survive_being_spelled(millis in 0..10_000_000_000_u64) {
        let given = Duration::from_millis(millis);
        prop_assert_eq!(duration(&spell_duration(given)), Ok(given));
    }

    #[test]
    fn a_changed_example_is_read_or_refused(at in 0..EXAMPLE.len(), byte in any::<u8>()) {
        let mut bytes = EXAMPLE.as_bytes().to_vec();
        bytes[at] = byte;
        drop(parse(&String::from_utf8_lossy(&bytes)));
    }
}
