use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

const TABLE: &str = "time,speed\n0,1.5\n1,2.5\n";

fn decoded(bytes: &[u8]) -> DecodedTable {
    decode_with_notes(bytes.to_vec(), Path::new("table.csv")).unwrap()
}

fn refused(name: &str, bytes: &[u8]) -> String {
    decode(bytes.to_vec(), Path::new(name))
        .unwrap_err()
        .to_string()
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn utf16(text: &str, order: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(order).collect()
}

#[test]
fn texts_in_other_encodings_become_utf8() {
    let marked = |mark: &[u8], text: Vec<u8>| [mark, &text].concat();
    for bytes in [
        TABLE.into(),
        marked(&[0xef, 0xbb, 0xbf], TABLE.into()),
        marked(&[0xff, 0xfe], utf16(TABLE, u16::to_le_bytes)),
        marked(&[0xfe, 0xff], utf16(TABLE, u16::to_be_bytes)),
        utf16(TABLE, u16::to_le_bytes),
        utf16(TABLE, u16::to_be_bytes),
        TABLE.replace('\n', "\r").into(),
        format!("{TABLE}\u{1a}").into(),
        packed(TABLE.as_bytes()),
        [packed(b"time,speed\n0,1.5\n"), packed(b"1,2.5\n")].concat(),
    ] {
        assert_eq!(decoded(&bytes).text, TABLE, "{bytes:?}");
    }
    // A byte-order mark is no part of the first name.
    assert_eq!(decoded(b"\xef\xbb\xbfa,b\n").text, "a,b\n");
}

#[test]
fn a_guess_of_the_encoding_is_said() {
    let decoded = decoded(b"time,stra\xdfe\n0,\x801\n");
    assert_eq!(decoded.text, "time,stra\u{df}e\n0,\u{20ac}1\n");
    assert!(
        decoded.notes[0].contains("read as Windows-1252"),
        "{:?}",
        decoded.notes
    );
    assert!(
        decoded.notes[0].contains("line 1 has `time,stra\u{df}e`"),
        "{:?}",
        decoded.notes
    );
    for (bytes, line) in [
        // Cyrillic, a byte without a meaning, and UTF-8 with one broken character.
        (&b"a,b\n\xe2\xf0\xe5\xec,1\n"[..], 2),
        (b"a,\x81\n", 1),
        (b"a,\xc3\xa9\n1,\xe9\n", 2),
    ] {
        let message = refused("table.csv", bytes);
        assert!(
            message.contains(&format!("line {line}: the byte")),
            "{message}"
        );
    }
    assert!(refused("t.csv", b"\xff\xfe\0\xd8a\0").contains("is not UTF-16"));
    assert!(refused("t.csv", b"\xff\xfe\0\0a\0\0\0").contains("UTF-32"));
}

#[test]
fn other_formats_are_refused_by_name() {
    let tar = [vec![b'a'; 257], b"ustar\0".to_vec()].concat();
    for (name, bytes, expected) in [
        (
            "a.parquet",
            &b"PAR1\0\0PAR1"[..],
            "Parquet file and no table of text; convert it",
        ),
        (
            "b c.xlsx",
            b"PK\x03\x04..xl/workbook.xml",
            "read_excel('b c.xlsx').to_csv('b c.csv'",
        ),
        ("a.csv", b"PK\x03\x04..x.npy..", "must end in .npz"),
        ("a.csv", b"PK\x03\x04..x.csv..", "unzip a.csv"),
        (
            "a.xls",
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1..",
            "Excel (.xls)",
        ),
        ("a.feather", b"ARROW1\0\0", "read_feather"),
        ("a.h5", b"\x89HDF\r\n\x1a\n", "HDF5"),
        ("a.csv", b"\x93NUMPY\x01\0", ".npy"),
        ("a.pkl", b"\x80\x04\x95\0", "pickle"),
        ("a.db", b"SQLite format 3\0", "sqlite3 -header -csv a.db"),
        ("a.pdf", b"%PDF-1.7", "a PDF"),
        ("a.png", b"\x89PNG\r\n\x1a\n", "image (PNG)"),
        ("a.jpg", b"\xff\xd8\xff\xe0", "image (JPEG)"),
        ("a.html", b"\n<!DOCTYPE html>", "read_html"),
        ("a.xml", b"<?xml version='1.0'?>", "read_xml"),
        ("a.json", b"[{\"a\": 1}]", "read_json('a.json').to_csv"),
        ("a.json", b"{\n \"a\": [1]}", "a JSON file"),
        ("a.jsonl", b"{\"a\": 1}\n{\"a\": 2}\n", "lines=True"),
        ("a.tar", &tar, "tar xf a.tar"),
        ("a.tar.gz", &packed(&tar), "an archive of tar"),
        ("a.safetensors", b"\x10\0\0\0\0\0\0\0{\"w\":", "a model"),
        ("a.bin", b"a,b\n1,\0\n", "line 2 has the byte 0x00"),
        (
            "a.gz",
            &packed(TABLE.as_bytes())[..20],
            "cannot be unpacked as a gzip file",
        ),
    ] {
        let message = refused(name, bytes);
        assert!(
            message.starts_with(name) && message.contains(expected),
            "{message}"
        );
    }
    // Headers that begin like the marks of formats.
    for header in ["PAR1,PAR2\n1,2\n", "Rar!,b\n", "[m],b\n", "ORC,b\n"] {
        assert_eq!(decoded(header.as_bytes()).text, header);
    }
}

#[test]
fn comments_are_blank_lines() {
    for (text, expected) in [
        ("# a station\n% of mine\na,b\n1,2\n", "\n\na,b\n1,2\n"),
        ("# a, b\n1,2\n", "a, b\n1,2\n"),
        ("# first, second\na,b\n1,2\n", "\na,b\n1,2\n"),
        ("#,b\n1,2\n", "#,b\n1,2\n"),
        ("a,b\r\n# moved\r\n1,2\r\n", "a,b\r\n\r\n1,2\r\n"),
        ("a,b\n#1,2\n", "a,b\n#1,2\n"),
        ("a,b\n\"x\n# y\",2\n", "a,b\n\"x\n# y\",2\n"),
        ("sep=;\na;b\n1;2\n", "\na;b\n1;2\n"),
        ("# only\n", "# only\n"),
    ] {
        assert_eq!(decoded(text.as_bytes()).text, expected);
    }
    let notes = decoded(b"# a station\na,b\n1,2\n").notes;
    assert_eq!(
        notes,
        ["1 line with a comment skipped, the first is line 1: `# a station`"]
    );
    let notes = decoded(b"# a,b\n1,2\n").notes;
    assert!(
        notes[0].contains("line 1, `# a,b`, is taken as the header"),
        "{notes:?}"
    );
}

const TS_HEADER: &str = "# from somewhere\n@problemName toy\n@timeStamps false\n@missing true\n";

#[test]
fn sequences_of_the_format_ts_become_rows() {
    let text = format!(
        "{TS_HEADER}@univariate false\n@dimensions 2\n@equalLength false\n\
         @classLabel true up down\n@data\n1.5,?:3,4:up\n\n5,6,NaN:7:down\n"
    );
    let table = decoded(text.as_bytes());
    assert_eq!(
        table.text,
        "case,dim_0,dim_1,class\n0,1.5,3,up\n0,,4,up\n1,5,7,down\n1,6,,down\n1,,,down\n"
    );
    let columns = ArchiveColumns {
        case: "case".into(),
        target: Some("class".into()),
    };
    assert_eq!(
        (table.archive, table.nominal),
        (Some(columns), vec!["class".to_string()])
    );

    let text = format!(
        "{TS_HEADER}@univariate true\n@seriesLength 2\n@targetLabel true\n@data\n1,2,3:0.5\n"
    );
    let table = decoded(text.as_bytes());
    assert_eq!(table.text, "case,dim_0,target\n0,1,0.5\n0,2,0.5\n0,3,0.5\n");
    assert!(
        table.notes[1].contains("line 9 has 3 steps, although"),
        "{:?}",
        table.notes
    );

    let text = "@timeStamps true\n@univariate true\n@classLabel false\n@data\n\
                (2020-01-01 00:00:00,1.5),(2020-01-01 00:01:00,2)\n";
    assert_eq!(
        decoded(text.as_bytes()).text,
        "case,time,dim_0\n0,2020-01-01 00:00:00,1.5\n0,2020-01-01 00:01:00,2\n"
    );
}

#[test]
fn damaged_sequences_are_refused_with_their_line() {
    let refused = |rest: &str| refused("toy.ts", format!("{TS_HEADER}{rest}").as_bytes());
    for (rest, expected) in [
        (
            "@classLabel true a b\n@data\n1,2:c\n",
            "line 7: `c` is no class of @classLabel",
        ),
        (
            "@dimensions 2\n@data\n1,2\n",
            "line 7: there are 1 dimensions",
        ),
        ("@data\n1,x\n", "line 6: dimension 0 has `x`"),
        ("@data\n1,2\n1:2\n", "line 7: there are 2 dimensions"),
        (
            "@univariate maybe\n@data\n",
            "line 5: `@univariate maybe` must be followed by",
        ),
        ("1,2\n", "line 5: `1,2` is a line of data above @data"),
        ("@univariate true\n", "has no line `@data`"),
        ("@data\n", "has no sequence after @data"),
        ("@targetLabel true\n@data\n1,2:x\n", "the target is `x`"),
    ] {
        let message = refused(rest);
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn tables_of_the_format_arff_become_csv() {
    let text = "% iris\n@RELATION iris\n@ATTRIBUTE 'sepal length' NUMERIC\n\
                @attribute note string\n@attribute class {plain, 'y z'}\n\n@DATA\n\
                1.5, 'it\\'s, here', plain\n% more\n?,\"\",'y z'\n";
    let table = decoded(text.as_bytes());
    assert_eq!(
        table.text,
        "sepal length,note,class\n1.5,\"it's, here\",plain\n,,y z\n"
    );
    assert_eq!(
        (table.archive, table.nominal),
        (None, vec!["class".to_string()])
    );
}

#[test]
fn sequences_of_the_format_arff_become_rows() {
    let attributes: String = (1..=8)
        .map(|n| format!("@attribute att{n} numeric\n"))
        .collect();
    let text = format!(
        "@relation wide\n{attributes}@attribute target {{1,2}}\n@data\n1,2,3,4,5,6,7,?,2\n"
    );
    let table = decoded(text.as_bytes());
    assert!(
        table.text.starts_with("case,dim_0,target\n0,1,2\n0,2,2\n"),
        "{}",
        table.text
    );
    assert!(table.text.ends_with("0,7,2\n0,,2\n"), "{}", table.text);
    assert!(
        table.notes[0].contains("`att1` to `att8` are taken as the steps"),
        "{:?}",
        table.notes
    );
    assert_eq!(table.archive.unwrap().target.as_deref(), Some("target"));

    let text = "@relation many\n@attribute rel relational\n@attribute t0 numeric\n\
                @attribute t1 numeric\n@end rel\n@attribute class {a,b}\n@data\n\
                \"1,2\\n3,?\",a\n'5,6\\n7,8',b\n";
    assert_eq!(
        decoded(text.as_bytes()).text,
        "case,dim_0,dim_1,class\n0,1,3,a\n0,2,,a\n1,5,7,b\n1,6,8,b\n"
    );
}

#[test]
fn damaged_arff_files_are_refused_with_their_line() {
    let refused = |rest: &str| refused("toy.arff", format!("@relation r\n{rest}").as_bytes());
    for (rest, expected) in [
        (
            "@attribute a numeric\n@data\n1,2\n",
            "line 4: there are 2 cells where 1 attributes",
        ),
        (
            "@attribute a numeric\n@data\nx\n",
            "line 4: the attribute `a` has `x`",
        ),
        ("@attribute a {u,v}\n@data\nw\n", "it must be `u` or `v`"),
        (
            "@attribute a numeric\n@data\n{0 1}\n",
            "line 4: is a sparse row",
        ),
        (
            "@attribute a numeric\n@data\n'1\n",
            "line 4: the quote ' is not closed",
        ),
        (
            "@attribute a matrix\n@data\n",
            "line 2: the attribute `a` is of the type `matrix`",
        ),
        ("@data\n", "declares no attribute"),
        ("@attribute a numeric\n", "has no line `@data`"),
        ("hello\n", "line 2: `hello` is neither"),
    ] {
        let message = refused(rest);
        assert!(message.contains(expected), "{message}");
    }
}
