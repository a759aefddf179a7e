//! Help texts: the commands in groups by who needs them, and descriptions that fit a terminal of the usual width.

use std::fmt::Write as _;

use clap::{Arg, Command, CommandFactory};

use super::Cli;

/// Columns of the narrowest usual terminal. clap breaks no lines by itself unless it is built to ask for the width.
const COLUMNS: usize = 80;

/// Spaces before an argument or a command, and between it and its description.
const MARGIN: usize = 2;

/// What clap puts before a long option: `-o, ` or as many spaces.
const SHORT_OPTION: usize = 4;

/// Every command that is not hidden, by who needs it.
const GROUPS: [(&str, &[&str]); 4] = [
    ("Reproduce the paper", &["plan", "fetch", "run", "report", "verify", "explain", "rerun", "compare", "selftest"]),
    ("Extend it to other models and GPUs", &["infer", "search", "export", "build"]),
    ("Publish results", &["merge", "artifact", "appendix", "splice"]),
    ("This machine", &["doctor", "cache"]),
];

const AFTER_HELP: &str = "\
`mixprec help COMMAND` describes the arguments of a command.

Exit codes: 0 all well; 1 some rows, claims, checkpoints or engines failed,
            two runs differ, a fault was not caught, or a pin, a page or the
            cache is not as it should be; 2 bad input; 130 interrupted.";

/// The command line, with its help texts arranged.
pub(super) fn command() -> Command {
    let command = wrapped(Cli::command());
    let (groups, options) = (groups(&command), heading(&command, "Options"));
    let template =
        format!("{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{groups}{options}{{options}}{{after-help}}");
    // No limit of clap's own: the lines are broken already.
    command.help_template(template).after_help(AFTER_HELP).term_width(0)
}

/// The commands and what they are for, a paragraph for each group.
fn groups(command: &Command) -> String {
    let literal = command.get_styles().get_literal();
    let longest = GROUPS.iter().flat_map(|(_, names)| *names).map(|name| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (title, names) in GROUPS {
        text += &heading(command, title);
        for one in names.iter().filter_map(|name| command.find_subcommand(name)) {
            let (name, about) = (one.get_name(), one.get_about().map(ToString::to_string).unwrap_or_default());
            let gap = " ".repeat(longest - name.len() + MARGIN);
            let _ = writeln!(text, "{:MARGIN$}{literal}{name}{literal:#}{gap}{about}", "");
        }
        text.push('\n');
    }
    text
}

fn heading(command: &Command, title: &str) -> String {
    let header = command.get_styles().get_header();
    format!("{header}{title}:{header:#}\n")
}

/// The command and its subcommands with descriptions of at most [`COLUMNS`] columns.
fn wrapped(command: Command) -> Command {
    // Arguments know how they are written only in a command that is built.
    let mut built = command.clone();
    built.build();
    let shown = built.get_arguments().filter(|arg| !arg.is_hide_set());
    let column = shown.map(width).max().unwrap_or(0) + 2 * MARGIN;
    let after = command.get_after_help().map(|after| broken(after.to_string().split_whitespace(), COLUMNS));
    let command = command.mut_args(|arg| described(arg, COLUMNS.saturating_sub(column))).mut_subcommands(wrapped);
    match after {
        Some(after) => command.after_help(after),
        None => command,
    }
}

/// Columns of an argument as clap writes it: `-o, --out <DIR>`.
fn width(arg: &Arg) -> usize {
    arg.to_string().chars().count() + if arg.get_long().is_some() { SHORT_OPTION } else { 0 }
}

/// The argument with its description, default and possible values in lines of `columns`. clap would append the last two
/// to the last line.
fn described(mut arg: Arg, columns: usize) -> Arg {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let mut words: Vec<String> = help.split_whitespace().map(str::to_owned).collect();
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if !defaults.is_empty() {
        words.push(format!("[default: {}]", defaults.join(",")));
        arg = arg.hide_default_value(true);
    }
    let choices: Vec<String> = arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    // A flag, too, has possible values: true and false.
    if !choices.is_empty() && arg.get_action().takes_values() {
        let values = format!("[possible values: {}]", choices.join(", "));
        words.extend(values.split_whitespace().map(str::to_owned));
        arg = arg.hide_possible_values(true);
    }
    arg.help(broken(words.iter().map(String::as_str), columns))
}

/// The words in lines of at most `columns`, a longer word on a line of its own.
fn broken<'a>(words: impl Iterator<Item = &'a str>, columns: usize) -> String {
    let mut lines = vec![String::new()];
    for word in words {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_visible_command_is_in_exactly_one_group() {
        let command = Cli::command();
        let visible = command.get_subcommands().filter(|one| !one.is_hide_set());
        let mut visible: Vec<&str> = visible.map(Command::get_name).collect();
        let mut grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| *names).copied().collect();
        visible.sort_unstable();
        grouped.sort_unstable();
        assert_eq!(grouped, visible);
    }

    #[test]
    fn help_has_every_group_and_every_visible_command_with_its_description() {
        let help = command().render_help().to_string();
        for (title, names) in GROUPS {
            assert!(help.contains(&format!("\n\n{title}:\n  {}  ", names[0])), "{title}: {help}");
        }
        for one in Cli::command().get_subcommands() {
            let line = help.lines().find(|line| line.trim_start().split(' ').next() == Some(one.get_name()));
            let about = one.get_about().unwrap().to_string();
            assert_eq!(line.is_some_and(|line| line.ends_with(&format!("  {about}"))), !one.is_hide_set(), "{help}");
        }
    }

    /// clap writes the usage on one line, however long.
    fn assert_fits(command: &mut Command) {
        for help in [command.render_help(), command.render_long_help()].map(|help| help.to_string()) {
            let lines = help.lines().filter(|line| !line.starts_with("Usage: "));
            let longest = lines.map(|line| line.chars().count()).max().unwrap();
            assert!(longest <= COLUMNS, "{longest} columns\n{help}");
        }
        command.get_subcommands_mut().for_each(assert_fits);
    }

    #[test]
    fn no_help_text_is_wider_than_a_terminal() {
        let mut command = command();
        command.build();
        assert_fits(&mut command);
    }

    #[test]
    fn lines_are_broken_between_words() {
        assert_eq!(broken(["one", "two", "three"].into_iter(), 7), "one two\nthree");
        assert_eq!(broken(["incomprehensible", "word"].into_iter(), 4), "incomprehensible\nword");
        assert_eq!(broken([].into_iter(), 4), "");
    }

    #[test]
    fn the_command_line_contradicts_nothing() {
        command().debug_assert();
    }
}
