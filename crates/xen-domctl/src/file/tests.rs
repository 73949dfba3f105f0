use super::*;
use proptest::prelude::*;

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

fn list(items: &[&str]) -> Vec<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

fn texts(value: &Value) -> Vec<String> {
    let Value::List(items) = value else { panic!("{value:?}") };
    items
        .iter()
        .map(|item| if let Value::Text(text) = &item.value { text.clone() } else { panic!("{item:?}") })
        .collect()
}

/// The domain file of the white paper that taught people to run Xen on AoE and cluster LVM
/// (step 11b).
const PAPER: &str = include_str!("../../tests/blenke-web-00.cfg");

#[test]
fn the_white_papers_file_is_read_as_it_stands() {
    let file = parse(PAPER.as_bytes()).unwrap();
    let keys: Vec<_> = file.iter().map(|a| a.key.as_str()).collect();
    assert_eq!(keys, ["kernel", "memory", "cpu", "vcpus", "name", "nics", "vif", "ip", "disk", "root"]);
    let value = |key: &str| &file.iter().find(|a| a.key == key).unwrap().value;
    assert_eq!(value("kernel"), &text("/boot/vmlinuz-2.6-xenU"));
    assert_eq!(
        (value("memory"), value("cpu"), value("vcpus")),
        (&Value::Number(64), &Value::Number(-1), &Value::Number(1))
    );
    assert_eq!(texts(value("vif")), list(&["mac=aa:00:0a:00:00:0a, bridge=xenbr0"]));
    assert_eq!(
        texts(value("disk")),
        list(&["phy:vg/blenke-web-00_mirror0,sda1,w", "phy:vg/blenke-web-00_mirror1,sda2,w"])
    );
    assert_eq!(file[8].value_at, At { line: 9, column: 8 });
}

#[test]
fn lists_break_over_lines_and_may_end_in_a_comma() {
    let file = parse(b"disk = [\n  'a', # one\n\n  \"b\",\n]; x = [[1, 0x10], [],]\n").unwrap();
    assert_eq!(texts(&file[0].value), list(&["a", "b"]));
    assert_eq!(file[1].value.to_string(), "[ [ 1, 16, ], [ ], ]");
}

#[test]
fn escapes_are_those_of_xl() {
    let file = parse(br#"a = 'it\'s "so"' ; b = "\x41\102\n\\""#).unwrap();
    assert_eq!((&file[0].value, &file[1].value), (&text("it's \"so\""), &text("AB\n\\")));
}

#[test]
fn the_last_value_counts_and_plus_equals_adds() {
    let file = parse(b"a=1\na=2\nb='x'\nb+='y'\nc=['p']\nc+=['q']\n").unwrap();
    assert_eq!((&file[0].value, &file[1].value), (&Value::Number(2), &text("xy")));
    assert_eq!(texts(&file[2].value), list(&["p", "q"]));
    assert_eq!(parse(b"a=1\na+='x'").unwrap_err().at, At { line: 2, column: 1 });
}

#[test]
fn errors_say_where_and_what() {
    for (bytes, wanted) in [
        (&b"memory 64"[..], "1:8: `64' after `memory', where `=' belongs"),
        (b"\nname = web", "2:8: `web' where a string, a number or a list belongs"),
        (b"a = 'x", "1:5: this string is not closed on its line"),
        (b"a = [ 'x'\n", "1:5: this list is never closed"),
        (b"a = [ 'x' 'y' ]", "1:11: a string in a list, where `,' or `]' belongs"),
        (b"a = [ , ]", "1:7: `,' in a list, where a value belongs"),
        (b"a = 1 + 2", "1:7: `+' is not part of any value; expressions are not computed"),
        (b"a = 1 b = 2", "1:7: `b' after the value of `a'; expressions are not computed"),
        (b"a = 12k", "1:5: `12k' is not a number"),
        (b"a = 99999999999999999999", "1:5: `99999999999999999999' is not a number"),
        (b"import os\n", "1:8: `os' after `import', where `=' belongs"),
        (b"a = \"\xff\"", "1:5: this string is not UTF-8"),
        (b"a = '\\q'", "1:6: an escape other than \\\\ \\' \\\" \\a \\b \\f \\n \\r \\t \\v \\xHH \\OOO"),
        (b"a = '\\x4'", "1:6: a numeric escape that is not an ASCII character"),
        (b"a=[[[[[[[[[1]]]]]]]]]", "1:11: lists nested more than 8 deep"),
    ] {
        assert_eq!(parse(bytes).unwrap_err().to_string(), wanted, "{}", bytes.escape_ascii());
    }
    assert!(parse(b"# caf\xe9\na = 1").is_ok(), "comments hold any bytes");
}

#[test]
fn the_papers_file_cut_at_any_length_is_a_file_or_an_error_within_it() {
    for length in 0..PAPER.len() {
        let cut = &PAPER.as_bytes()[..length];
        match parse(cut) {
            Ok(file) => assert!(file.len() <= 10),
            Err(error) => assert!(error.at.line <= 1 + cut.iter().filter(|b| **b == b'\n').count(), "{error}"),
        }
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        "[^\0]{0,20}".prop_map(Value::Text).prop_filter("xl's strings hold printable text", |value| {
            matches!(value, Value::Text(text) if !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')))
        }),
        (0..i64::MAX).prop_map(Value::Number),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let item = inner.prop_map(|value| Item { value, at: At { line: 1, column: 1 } });
        proptest::collection::vec(item, 0..4).prop_map(Value::List)
    })
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::List(a), Value::List(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(&a.value, &b.value))
        }
        _ => a == b,
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(value in any_value()) {
        let file = parse(format!("key = {value}\n").as_bytes()).unwrap();
        prop_assert!(same(&file[0].value, &value), "{value} as {}", file[0].value);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn no_mixture_of_the_syntax_makes_it_panic(words in proptest::collection::vec(
        prop_oneof![Just("["), Just("]"), Just("'"), Just("\""), Just("\\"), Just("="), Just("+="), Just(","),
            Just("\n"), Just("#"), Just("a"), Just("-1"), Just("0x"), Just(";"), Just(" ")], 0..60)) {
        let _ = parse(words.concat().as_bytes());
    }
}
