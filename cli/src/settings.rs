//! Settings of `serve` from a file and from the environment, under the names of its flags.
//!
//! A setting is looked for on the command line, then in the environment (`TAILWATER_TLS_CERT` for `--tls-cert`), then in the TOML
//! file that `--config` or `TAILWATER_CONFIG` names (`tls-cert = "server.pem"`); then it has its default. Every flag there is can be
//! set in all three; a name in the file that is no flag is an error.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::failure::{Exit, Failure};

/// What the variables' names begin with.
const PREFIX: &str = "TAILWATER_";
/// Flags that are about settings themselves, or about help.
const NO_SETTINGS: [&str; 4] = ["config", "print-config", "help", "version"];

/// Settings of which one takes the other back, wherever that is set in a place of less weight.
const OPPOSITES: [(&str, &str); 1] = [("auth", "no-auth")];

/// What stands between the members of a list.
const LIST: &str = ",";

/// Where settings come from.
pub(crate) struct Settings {
    /// By name: the value, and where it is set.
    found: HashMap<String, (String, String)>,
}

impl Settings {
    /// Reads the environment, and the file if one is named among the arguments or there.
    pub(crate) fn read(
        arguments: &[OsString],
        environment: impl Fn(&str) -> Option<OsString>,
        command: &Command,
    ) -> Result<Settings, Failure> {
        let names: Vec<&str> = names(command).collect();
        let mut settings = Settings { found: HashMap::new() };
        let file = named(arguments).or_else(|| environment(&variable("config")).map(PathBuf::from));
        if let Some(file) = file {
            settings.read_file(&file, &names)?;
        }
        for name in names {
            let variable = variable(name);
            if let Some(value) = environment(&variable) {
                let value = value
                    .into_string()
                    .map_err(|_| Failure::new(Exit::Usage, format!("{variable} is not UTF-8")))?;
                settings.take_back(name);
                settings.found.insert(name.to_owned(), (value, variable));
            }
        }
        for (one, other) in OPPOSITES {
            for flag in [one, other] {
                if arguments
                    .iter()
                    .any(|argument| argument.to_str() == Some(&format!("--{flag}")))
                {
                    settings.take_back(flag);
                }
            }
        }
        Ok(settings)
    }

    /// Forgets the opposite of a setting that was found in a place of more weight.
    fn take_back(&mut self, name: &str) {
        for (one, other) in OPPOSITES {
            if name == one {
                self.found.remove(other);
            } else if name == other {
                self.found.remove(one);
            }
        }
    }

    fn read_file(&mut self, file: &Path, names: &[&str]) -> Result<(), Failure> {
        let failed = |why: &dyn std::fmt::Display| Failure::new(Exit::Usage, format!("{}: {why}", file.display()));
        let text = std::fs::read_to_string(file).map_err(|error| failed(&error))?;
        let table: toml::Table = text.parse().map_err(|error| failed(&error))?;
        for (name, value) in table {
            if !names.contains(&name.as_str()) {
                return Err(failed(&format_args!(
                    "{name} is no setting: they are {}",
                    names.join(", ")
                )));
            }
            let value = match value {
                toml::Value::String(text) => text,
                toml::Value::Integer(number) => number.to_string(),
                toml::Value::Boolean(value) => value.to_string(),
                toml::Value::Array(values) if values.iter().all(toml::Value::is_str) => {
                    let values: Vec<&str> = values.iter().filter_map(toml::Value::as_str).collect();
                    values.join(LIST)
                }
                other => return Err(failed(&format_args!("{name} cannot be a {}", other.type_str()))),
            };
            self.found.insert(name, (value, file.display().to_string()));
        }
        Ok(())
    }

    /// The command with what was found as its defaults.
    pub(crate) fn apply(&self, command: Command) -> Command {
        command.mut_args(|argument| match self.of(&argument) {
            Some((value, _)) => argument.required(false).default_value(value.clone()),
            None => argument,
        })
    }

    fn of(&self, argument: &Arg) -> Option<&(String, String)> {
        self.found.get(argument.get_long()?)
    }

    /// What is in force, as a file that sets the same, with where each is set.
    pub(crate) fn print(&self, command: &Command, matches: &ArgMatches) -> String {
        let mut text = String::new();
        for argument in command.get_arguments() {
            let Some(name) = argument.get_long().filter(|name| !NO_SETTINGS.contains(name)) else {
                continue;
            };
            let id = argument.get_id().as_str();
            let is_default = matches.value_source(id) == Some(ValueSource::DefaultValue);
            let source = match self.of(argument) {
                Some((_, source)) if is_default => source.as_str(),
                _ if is_default => "default",
                _ => "command line",
            };
            let value = match argument.get_action() {
                ArgAction::SetTrue => Some(matches.get_flag(id).to_string()),
                _ => matches.get_raw(id).map(|values| {
                    let values: Vec<_> = values.map(|value| value.to_string_lossy()).collect();
                    values.join(LIST)
                }),
            };
            let _ = match value {
                None => writeln!(text, "# {name} is not set"),
                Some(value) => writeln!(text, "{name} = {}  # {source}", literal(&value)),
            };
        }
        text
    }
}

/// The names of a command's settings.
fn names(command: &Command) -> impl Iterator<Item = &str> {
    let long = command.get_arguments().filter_map(Arg::get_long);
    long.filter(|name| !NO_SETTINGS.contains(name))
}

/// The variable that sets what the flag of that name sets.
fn variable(name: &str) -> String {
    format!("{PREFIX}{}", name.replace('-', "_").to_uppercase())
}

/// The file that `--config` names. It is looked for before the arguments are parsed, because what they need may be in it.
fn named(arguments: &[OsString]) -> Option<PathBuf> {
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let argument = argument.to_str()?;
        if argument == "--config" {
            return arguments.next().map(PathBuf::from);
        }
        if let Some(file) = argument.strip_prefix("--config=") {
            return Some(PathBuf::from(file));
        }
    }
    None
}

/// A value in TOML.
fn literal(value: &str) -> String {
    match value.parse::<bool>().is_ok() || value.parse::<i64>().is_ok() {
        true => value.to_owned(),
        false => toml::Value::String(value.to_owned()).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> Command {
        Command::new("serve")
            .arg(Arg::new("dir").long("dir").required(true))
            .arg(Arg::new("bind").long("bind").default_value("here"))
            .arg(Arg::new("tls_cert").long("tls-cert"))
            .arg(Arg::new("auth").long("auth").action(ArgAction::SetTrue))
            .arg(Arg::new("config").long("config"))
    }

    fn print(file: &str, variables: &[(&str, &str)], arguments: &[&str]) -> Result<String, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tailwater.toml");
        std::fs::write(&path, file).unwrap();
        let mut all = vec![OsString::from("serve"), "--config".into(), path.clone().into()];
        all.extend(arguments.iter().map(OsString::from));
        let environment = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| OsString::from(value))
        };
        let settings = Settings::read(&all, environment, &command()).map_err(|failure| failure.message)?;
        let command = settings.apply(command());
        let matches = command
            .clone()
            .try_get_matches_from(all)
            .map_err(|error| error.to_string())?;
        Ok(settings
            .print(&command, &matches)
            .replace(&path.display().to_string(), "file"))
    }

    #[test]
    fn the_command_line_goes_before_the_environment_and_that_before_the_file() {
        let file = "dir = \"a b\"\nbind = \"file\"\nauth = true\n";
        let printed = print(file, &[("TAILWATER_BIND", "variable")], &[]).unwrap();
        let expected = "dir = \"a b\"  # file\nbind = \"variable\"  # TAILWATER_BIND\n# tls-cert is not set\nauth = true  # file\n";
        assert_eq!(printed, expected);
        let printed = print(file, &[("TAILWATER_TLS_CERT", "c")], &["--bind", "flag"]).unwrap();
        let expected = "dir = \"a b\"  # file\nbind = \"flag\"  # command line\ntls-cert = \"c\"  # TAILWATER_TLS_CERT\nauth = true  # file\n";
        assert_eq!(printed, expected);
    }

    #[test]
    fn what_is_no_setting_is_named() {
        for (file, named) in [
            ("dirr = \"a\"\n", "dirr is no setting"),
            ("config = \"a\"\n", "config is no setting"),
            ("dir = [1]\n", "dir cannot be a array"),
            ("dir = \n", "TOML"),
            ("bind = \"b\"\n", "--dir"),
            ("dir = \"a\"\nauth = \"perhaps\"\n", "perhaps"),
        ] {
            let message = print(file, &[], &[]).unwrap_err();
            assert!(message.contains(named), "{file}: {message}");
        }
    }
}
