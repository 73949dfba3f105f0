use super::*;

fn line(text: &str) -> Result<Invocation, Wrong> {
    parse(text.split_whitespace().map(OsString::from))
}

fn serving(text: &str) -> Options {
    match line(text) {
        Ok(Invocation::Serve(options)) => *options,
        other => panic!("{text}: {other:?}"),
    }
}

fn options(text: &str) -> ExportOptions {
    match serving(text).exports {
        Exports::One(export) => export,
        Exports::Table(path) => panic!("{text}: {}", path.display()),
    }
}

fn refusal(text: &str) -> Option<String> {
    line(text).unwrap_err().0
}

#[test]
fn four_operands_are_enough() {
    let options = options("7 3 eth1 /dev/md3");
    assert_eq!(options.address.to_string(), "e7.3");
    assert_eq!((&options.interfaces[..], options.buffers), (&["eth1".to_owned()][..], 64));
    let opening = Opening {
        path: "/dev/md3".into(),
        offset: 0,
        length: None,
        read_only: false,
        direct: false,
        sync: false,
        write_back: false,
        exclusive: false,
    };
    assert_eq!(options.opening, opening);
}

#[test]
fn options_come_in_any_place_and_cluster() {
    let macs = ["02:00:00:00:00:01".parse().unwrap(), "02000000000A".to_lowercase().parse().unwrap()];
    for text in [
        "-dsr -b 16 -o 0x10 -l 010 -m 02:00:00:00:00:01,02000000000A 7 3 eth1 f",
        "7 3 eth1 f -dsr -b16 -o16 -l8 -m02:00:00:00:00:01 -m 02000000000a",
        "7 -d 3 -rs -b 16 eth1 -o 020 -l 0X8 -m 020000000001 -m 02000000000a -- f",
    ] {
        let options = options(text);
        assert_eq!((options.buffers, options.opening.offset, options.opening.length), (16, 16, Some(8)));
        assert_eq!(options.mask, macs);
        let opening = options.opening;
        assert!(opening.direct && opening.sync && opening.read_only && !opening.write_back, "{text}");
    }
    assert_eq!(options("-- 7 3 eth1 -f").opening.path.as_os_str(), "-f");
    let process = |text: &str| serving(text).process;
    assert_eq!(process("7 3 eth1 f --ready-fd 5 --write-back").ready_fd, Some(5));
    assert_eq!(process("7 3 eth1 f --ready-fd=6").ready_fd, Some(6));
    assert!(process("--no-sandbox 7 3 eth1 f").no_sandbox && !process("7 3 eth1 f").no_sandbox);
    assert_eq!(process("--engine threads 7 3 eth1 f").engine, Some(Kind::Threads));
    assert_eq!(process("--engine=io_uring 7 3 eth1 f").engine, Some(Kind::Ring));
    assert_eq!(process("--state /s --control=/c 7 3 eth1 f").state, Some("/s".into()));
    assert_eq!(refusal("--engine aio 7 3 eth1 f").unwrap(), "--engine `aio': neither io_uring nor threads");
}

#[test]
fn the_wrong_number_of_operands_gets_the_usage_line_alone() {
    for text in ["", "7 3 eth1", "7 3 eth1 f g", "-r"] {
        assert_eq!(refusal(text), None, "{text}");
    }
}

#[test]
fn what_atoi_would_make_something_of_is_refused() {
    for shelf in ["x", "65535", "70000", "-1", "+1", "7x", ""] {
        let arguments = ["--", shelf, "3", "eth1", "f"].map(OsString::from);
        let message = parse(arguments).unwrap_err().0.unwrap();
        assert_eq!(message, format!("shelf `{shelf}': not a number from 0 to 65534"));
    }
    assert_eq!(refusal("7 255 eth1 f").unwrap(), "slot `255': not a number from 0 to 254");
    for text in ["-b 0", "-b x", "-b 65536", "-o 5x", "-o -5", "-l 0", "-l 08", "-o 0x", "-o +1", "-m zz", "-m 02,"] {
        assert!(refusal(&format!("{text} 7 3 eth1 f")).is_some(), "{text}");
    }
    assert_eq!(
        refusal("-m 02:00:00:00:00:01,zz 7 3 eth1 f").unwrap(),
        "-m: `zz' is not an Ethernet address such as 00:16:3e:00:00:0a"
    );
}

#[test]
fn unknown_options_are_named_as_getopt_names_them() {
    assert_eq!(refusal("-x 7 3 eth1 f").unwrap(), "invalid option -- 'x'");
    assert_eq!(refusal("7 3 eth1 f -b").unwrap(), "option requires an argument -- 'b'");
    assert_eq!(refusal("--verbose 7 3 eth1 f").unwrap(), "unrecognized option '--verbose'");
    assert_eq!(refusal("--write-back=1 7 3 eth1 f").unwrap(), "unrecognized option '--write-back=1'");
    assert_eq!(refusal("-s --write-back 7 3 eth1 f").unwrap(), "--write-back and -s contradict each other");
    assert_eq!(line("--help"), Ok(Invocation::Help));
    assert_eq!(line("7 --version"), Ok(Invocation::Version));
}

#[test]
fn several_interfaces_are_a_list() {
    assert_eq!(options("7 3 eth1,eth2 f").interfaces, ["eth1", "eth2"]);
    for names in ["eth1,", ",eth1", "eth1,eth1", ","] {
        let message = format!("netif `{names}': not a list of interfaces, each once");
        assert_eq!(refusal(&format!("7 3 {names} f")), Some(message));
    }
}

#[test]
fn a_table_stands_in_place_of_the_operands() {
    assert_eq!(serving("--config /etc/aoe.exports").exports, Exports::Table("/etc/aoe.exports".into()));
    for text in ["--config /t 7 3 eth1 f", "--config /t -r", "-b 9 --config=/t", "--config /t --fixed-mask"] {
        assert_eq!(refusal(text).unwrap(), "--config /t: what is exported is written there");
    }
}
