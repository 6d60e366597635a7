use super::*;

fn contexts(text: &str) -> Result<BTreeMap<String, Context>, String> {
    parse(text, Path::new("/home/me/.config/testgate"))
}

#[test]
fn paths_begin_at_the_folder_of_the_file() {
    let read =
        contexts("[prod]\nserver = \"h:1\"\ntoken_file = \"prod.token\"\nca_file = \"/etc/ca.pem\"").unwrap();
    assert_eq!(read["prod"].token_file, Some(PathBuf::from("/home/me/.config/testgate/prod.token")));
    assert_eq!(read["prod"].ca_file, Some(PathBuf::from("/etc/ca.pem")));
    assert!(contexts("").unwrap().is_empty());
}

#[test]
fn a_mistake_is_told_with_its_line() {
    for (text, expected) in [
        ("[prod]\nserver = \"h:1\"\ntoken = \"x\"", ", line 3: unknown field `token`"),
        ("[prod]\nca_file = \"x\"", ", line 1: missing field `server`"),
        ("[prod]\nserver = 7", ", line 2: invalid type"),
        ("server = \"h:1\"", ", line 1: invalid type"),
        ("\n[prod", ", line 2: "),
        ("[a]\nserver=\"x\"\n[a]\nserver=\"x\"", ", line 3: "),
    ] {
        let problem = contexts(text).unwrap_err();
        assert!(problem.starts_with(expected), "{text:?}: {problem}");
        assert!(!problem.contains('\n'), "{problem:?}");
    }
}

#[test]
fn a_flag_beats_the_context_and_the_context_the_environment() {
    let (flag, variable, of_context) = ("flag".to_owned(), "variable".to_owned(), "context".to_owned());
    let by_flag = Sources([("server", ValueSource::CommandLine)].into());
    let by_variable = Sources([("server", ValueSource::EnvVariable)].into());
    let picked = |sources: &Sources, given: Option<&String>, context| {
        sources.pick("server", given, context).map(|setting| (setting.value, setting.name))
    };
    let context = Some(("prod", Some(&of_context)));
    let owned = |value: &str, name: &str| Some((value.to_owned(), name.to_owned()));
    assert_eq!(picked(&by_flag, Some(&flag), context), owned("flag", "--server"));
    assert_eq!(picked(&by_variable, Some(&variable), context), owned("context", "server of context prod"));
    assert_eq!(picked(&by_variable, Some(&variable), None), owned("variable", "TESTGATE_SERVER"));
    assert_eq!(
        picked(&by_variable, Some(&variable), Some(("prod", None))),
        None,
        "what a context does not have is not taken from elsewhere"
    );
    assert_eq!(picked(&Sources::default(), None, None), None);
}
