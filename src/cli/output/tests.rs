//! Tables, CSV and JSON at several widths.

use std::io;

use serde_json::Value;
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use crate::cli::output::OutputFormat;
use crate::cli::output::screen::Screen;
use crate::table::{Cell, OutputTable, hidden, id, shown};
use spendwatch_domain::units::money::Usd;

fn table(name: &str) -> OutputTable {
    OutputTable {
        columns: vec![
            shown("name", "NAME"),
            shown("spend_usd", "SPEND"),
            hidden("requests"),
            shown("at", "AT"),
            shown("told", "NOTIFIED"),
        ],
        rows: vec![
            vec![
                Cell::Text(name.to_owned()),
                Cell::Decimal("12.5".to_owned()),
                Cell::Count(7),
                Cell::Time("2026-11-24T14:05:09Z".parse().unwrap()),
                Cell::List(vec!["a".to_owned(), "b".to_owned()]),
            ],
            vec![
                Cell::Text("x".to_owned()),
                Cell::Decimal("1000".to_owned()),
                Cell::Count(i128::MAX),
                Cell::Empty,
                Cell::List(Vec::new()),
            ],
        ],
    }
}

#[test]
fn three_formats() {
    let table = table("Search");
    insta::assert_snapshot!(table.render(OutputFormat::Table, Screen::default()), @r#"
NAME    SPEND  AT                 NOTIFIED
Search   12.5  2026-11-24 14:05Z  a, b
x        1000  -
"#);
    insta::assert_snapshot!(table.render(OutputFormat::Csv, Screen::default()), @r#"
name,spend_usd,requests,at,told
Search,12.5,7,2026-11-24T14:05:09Z,a; b
x,1000,170141183460469231731687303715884105727,,
"#);
    insta::assert_snapshot!(table.render(OutputFormat::Json, Screen::default()), @r#"
[
  {
    "at": "2026-11-24T14:05:09Z",
    "name": "Search",
    "requests": 7,
    "spend_usd": "12.5",
    "told": [
      "a",
      "b"
    ]
  },
  {
    "at": null,
    "name": "x",
    "requests": "170141183460469231731687303715884105727",
    "spend_usd": "1000",
    "told": []
  }
]
"#);
}

#[test]
fn control_characters_do_not_reach_a_terminal() {
    let table = table("a\u{1b}[2J\u{9b}31m\r\nb,\"c");
    let is_clean = |text: &str| !text.chars().any(|c| c.is_control() && c != '\n');
    for format in [OutputFormat::Table, OutputFormat::Json, OutputFormat::Csv] {
        let text = table.render(format, terminal(80));
        assert!(is_clean(&text), "{text:?}");
    }
    let json: Value =
        serde_json::from_str(&table.render(OutputFormat::Json, Screen::default())).unwrap();
    assert_eq!(json[0]["name"], "a\u{1b}[2J\u{9b}31m\r\nb,\"c");
    let mut reader = csv::Reader::from_reader(io::Cursor::new(
        table.render(OutputFormat::Csv, Screen::default()),
    ));
    let first = reader.records().next().unwrap().unwrap();
    assert_eq!(&first[0], "a\u{1b}[2J\u{9b}31m\r\nb,\"c");
}

fn terminal(width: usize) -> Screen {
    Screen {
        is_terminal: true,
        width: Some(width),
        has_color: false,
    }
}

/// In terminal cells, not bytes or characters.
fn widest(text: &str) -> usize {
    text.lines()
        .map(UnicodeWidthStr::width)
        .max()
        .unwrap_or_default()
}

fn keys(name: &str) -> OutputTable {
    OutputTable {
        columns: vec![
            id("id", "ID"),
            shown("name", "NAME"),
            shown("severity", "SEVERITY"),
            shown("spend_usd", "SPEND"),
            shown("ended_at", "ENDED"),
            shown("at", "AT"),
        ],
        rows: vec![vec![
            Cell::Text("apikey_01Rj2N8SVvo6BePZj99NhmiT".to_owned()),
            Cell::Text(name.to_owned()),
            Cell::Text("critical".to_owned()),
            Cell::Money(Usd::parse("1234567.89").unwrap()),
            Cell::Empty,
            Cell::Time("2026-11-24T14:05:09Z".parse().unwrap()),
        ]],
    }
}

/// Visible graphemes.
fn graphemes(text: &str) -> Vec<String> {
    let all = text.graphemes(true).map(str::to_owned);
    all.filter(|grapheme| !grapheme.trim().is_empty()).collect()
}

#[test]
fn only_texts_are_wrapped() {
    let names = [
        "a key with a long name that says what it is for, and more".to_owned(),
        "検索サービスの夜間バッチ処理用のキー、検索サービスの夜間バッチ処理用".to_owned(),
        "👩\u{200d}👩\u{200d}👧\u{200d}👦🇩🇪👍🏽".repeat(7),
        "x".repeat(70),
    ];
    for name in &names {
        for width in [40, 80, 100, 120, 200] {
            let table = keys(name).as_table(terminal(width));
            assert!(widest(&table) <= width, "{width}\n{table}");
            for whole in [
                "apikey_01Rj2N8SVvo6BePZj99NhmiT",
                "1,234,567.89",
                "2026-11-24 14:05Z",
                "critical",
            ] {
                assert!(table.contains(whole), "{whole} at {width}\n{table}");
            }
            let in_table = graphemes(&table);
            for character in graphemes(name) {
                assert!(in_table.contains(&character), "{character}\n{table}");
            }
            assert!(width < 200 || table.contains(name.as_str()), "{table}");
        }
    }
}

#[test]
fn narrow_tables_wrap_texts_or_become_blocks() {
    let table = keys("a key with a long name");
    insta::assert_snapshot!(table.as_table(terminal(96)), @r"
ID                               NAME                  SEVERITY  SPEND         AT
apikey_01Rj2N8SVvo6BePZj99NhmiT  a key with a long     critical  1,234,567.89  2026-11-24 14:05Z
                                 name
");
    insta::assert_snapshot!(table.as_table(terminal(40)), @r"
ID
apikey_01Rj2N8SVvo6BePZj99NhmiT
NAME      a key with a long name
SEVERITY  critical
SPEND     1,234,567.89
ENDED     -
AT        2026-11-24 14:05Z
");
}

#[test]
fn wide_characters_stay_aligned() {
    let mut table = table("検索");
    table.rows.push(table.rows[0].clone());
    table.rows[2][0] = Cell::Text("👩\u{200d}👧 Ada".to_owned());
    let table = table.as_table(Screen::default());
    let place = |line: &str| line.find("12.5").map(|place| line[..place].width());
    let places: Vec<_> = table.lines().filter_map(place).collect();
    assert_eq!(places, [9, 9], "{table}");
}

#[test]
fn severities_are_colored_on_a_terminal() {
    let colored = |width| Screen {
        has_color: true,
        ..terminal(width)
    };
    for width in [30, 200] {
        let table = keys("ci").as_table(colored(width));
        assert!(table.contains("\u{1b}[1;31mcritical\u{1b}[0m"), "{table:?}");
    }
    for format in [OutputFormat::Json, OutputFormat::Csv] {
        let text = keys("ci").render(format, colored(200));
        assert!(!text.contains('\u{1b}'), "{text}");
    }
    let plain = keys("critical").as_table(terminal(200));
    assert!(!plain.contains('\u{1b}'));
    let named = keys("critical").as_table(colored(200));
    assert_eq!(
        named.matches("\u{1b}[1;31m").count(),
        1,
        "a name is not a severity"
    );
}

#[test]
fn columns_are_dropped_after_texts_are_wrapped() {
    let headings = |width| {
        let table = keys("a key with a long name").with_droppable(&["at", "spend_usd"]);
        let table = table.as_table(terminal(width));
        table.lines().next().unwrap().to_owned()
    };
    // 31 for the id, 10 for the name, 8, 12 and 17, and two between each.
    assert!(headings(86).contains("AT") && headings(86).contains("SPEND"));
    assert!(!headings(85).contains("AT") && headings(85).contains("SPEND"));
    assert!(!headings(60).contains("SPEND") && headings(60).contains("SEVERITY"));
}
