//! The numbers as lines of text.

use serde_json::Value;

/// What is shown of a stream's filter at least.
const FILTER_COLUMNS: usize = 20;

/// What the names of followers' slots begin with.
const FOLLOWER: &str = "follower.";

/// Segments that are shown, the newest.
const SEGMENTS_SHOWN: usize = 10;

/// The lines of a screen of so many lines and columns.
pub(super) fn draw(stats: &Value, server: &str, (rows, columns): (usize, usize)) -> Vec<String> {
    let log = &stats["log"];
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let number = |value: &Value| grouped(value.as_u64().unwrap_or(0));
    let last = stats["history"].as_array().and_then(|points| points.last());
    let delivered = last.map_or(0.0, |point| point["delivered"].as_f64().unwrap_or(0.0));
    let mut lines = vec![
        format!(
            "tailwater {} at {server}, up {}: {}, term {}",
            text(&stats["version"]),
            duration(stats["uptimeSeconds"].as_f64()),
            text(&log["path"]),
            number(&log["term"]),
        ),
        format!(
            "writes {:.0}/s, {}/s    events delivered {delivered:.0}/s    sync p99 at most {}",
            log["entriesPerSecond"].as_f64().unwrap_or(0.0),
            bytes(log["bytesPerSecond"].as_f64()),
            duration(log["syncMicrosP99"].as_f64().map(|micros| micros / 1e6)),
        ),
        format!(
            "entries {} to {}, durable {}, released {}    {} in {} segments",
            number(&log["oldest"]),
            number(&log["appended"]),
            number(&log["durable"]),
            number(&log["released"]),
            bytes(log["bytes"].as_f64()),
            number(&log["segmentCount"]),
        ),
        format!("keeps {}", kept(&log["retention"])),
        connections(stats),
    ];
    if log["poisoned"].as_bool() == Some(true) {
        lines.push("A SYNC HAS FAILED: the log takes no more writes".to_owned());
    }
    let streams = list(&stats["watches"]["told"]);
    lines.push(String::new());
    lines.push(format!(
        "{} streams, the furthest behind first",
        number(&stats["watches"]["total"])
    ));
    let head = [
        "WATCHES",
        "BY",
        "CLIENT",
        "MATCHED",
        "DELIVERED",
        "LAG",
        "EXPIRES",
        "FILTER",
    ]
    .map(str::to_owned);
    let row = |stream: &Value| {
        let filter = [&stream["filter"], &stream["pipeline"]]
            .into_iter()
            .find_map(Value::as_str);
        [
            text(&stream["scope"]),
            text(&stream["transport"]),
            text(&stream["client"]),
            number(&stream["matched"]),
            number(&stream["delivered"]),
            number(&stream["lagEntries"]),
            duration(stream["expiresInSeconds"].as_f64()),
            filter.unwrap_or("everything").replace(char::is_control, " "),
        ]
    };
    lines.extend(table(head, streams.iter().map(row).collect()));
    let consumers = list(&stats["consumers"]);
    if !consumers.is_empty() {
        lines.push(String::new());
        lines.push(format!("{} durable consumers", consumers.len()));
        let head = ["CONSUMER", "MEMBERS", "ACKNOWLEDGED", "IN FLIGHT", "DEAD", "BEHIND"].map(str::to_owned);
        let row = |consumer: &Value| {
            [
                text(&consumer["name"]),
                number(&consumer["members"]),
                number(&consumer["acknowledged"]),
                number(&consumer["inFlight"]),
                number(&consumer["deadLettered"]),
                number(&consumer["lagEntries"]),
            ]
        };
        lines.extend(table(head, consumers.iter().map(row).collect()));
    }
    // What the log keeps for a follower stands in a slot of its name.
    let (followers, others): (Vec<&Value>, Vec<&Value>) = list(&log["slots"])
        .iter()
        .partition(|slot| slot_name(slot).starts_with(FOLLOWER));
    for (slots, what, head) in [
        (followers, "followers", "FOLLOWER"),
        (others, "retention slots", "SLOT"),
    ] {
        if slots.is_empty() {
            continue;
        }
        lines.push(String::new());
        lines.push(format!("{} {what}", slots.len()));
        let head = [head, "FROM", "BEHIND", "KEEPS", "AT MOST", ""].map(str::to_owned);
        let row = |slot: &&Value| {
            let name = slot_name(slot);
            [
                name.strip_prefix(FOLLOWER).unwrap_or(name).to_owned(),
                number(&slot["position"]),
                number(&slot["lagEntries"]),
                bytes(slot["lagBytes"].as_f64()),
                bytes(slot["maxLagBytes"].as_f64()),
                if slot["lost"].as_bool() == Some(true) {
                    "LOST"
                } else {
                    ""
                }
                .to_owned(),
            ]
        };
        lines.extend(table(head, slots.iter().map(row).collect()));
    }
    let segments = list(&log["segments"]);
    lines.push(String::new());
    lines.push(format!("{} segments, the newest first", number(&log["segmentCount"])));
    let head = ["SEGMENT", "STATE", "FROM", "TO", "ENTRIES IN", "FILE"].map(str::to_owned);
    let row = |segment: &Value| {
        [
            text(&segment["file"]),
            text(&segment["state"]),
            number(&segment["first"]),
            number(&segment["last"]),
            segment["frameBytes"]
                .as_f64()
                .map_or("-".to_owned(), |count| bytes(Some(count))),
            bytes(segment["fileBytes"].as_f64()),
        ]
    };
    lines.extend(table(
        head,
        segments.iter().rev().take(SEGMENTS_SHOWN).map(row).collect(),
    ));
    lines.truncate(rows);
    lines.into_iter().map(|line| cut(&line, columns)).collect()
}

fn slot_name(slot: &Value) -> &str {
    slot["name"].as_str().unwrap_or("-")
}

/// How much history the log keeps.
fn kept(retention: &Value) -> String {
    let limits = [
        retention["maxBytes"].as_f64().map(|most| bytes(Some(most))),
        retention["maxAgeSeconds"].as_f64().map(|age| duration(Some(age))),
        retention["hardMaxBytes"]
            .as_f64()
            .map(|most| format!("{} at the very most", bytes(Some(most)))),
    ];
    let limits: Vec<String> = limits.into_iter().flatten().collect();
    match limits.is_empty() {
        true => "all of its history".to_owned(),
        false => limits.join(", "),
    }
}

fn connections(stats: &Value) -> String {
    let number = |value: &Value| grouped(value.as_u64().unwrap_or(0));
    let mut line = format!("HTTP connections {}", number(&stats["http"]["connections"]));
    let wire = &stats["wire"];
    if wire.is_object() {
        line += &format!(
            "    MongoDB connections {}, commands {}, cursors {}, sessions {}",
            number(&wire["connections"]),
            number(&wire["commandsTotal"]),
            number(&wire["cursors"]),
            number(&wire["sessions"]),
        );
    }
    line
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Rows with columns as wide as what is in them; numbers to the right.
fn table<const N: usize>(head: [String; N], rows: Vec<[String; N]>) -> Vec<String> {
    let all: Vec<[String; N]> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| all.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let is_number = |column: usize| {
        let cells = all.iter().skip(1).map(|row| &row[column]);
        cells.clone().count() > 0
            && cells
                .into_iter()
                .all(|cell| cell.chars().all(|c| c.is_ascii_digit() || c == ','))
    };
    let right: [bool; N] = std::array::from_fn(is_number);
    let line = |row: &[String; N]| {
        let cells = row.iter().enumerate().map(|(i, cell)| match right[i] {
            true => format!("{cell:>width$}", width = widths[i]),
            false if i + 1 == N => cell.clone(),
            false => format!("{cell:<width$}", width = widths[i]),
        });
        cells.collect::<Vec<_>>().join("  ")
    };
    all.iter().map(line).collect()
}

/// As much of a line as fits. What is cut from is a filter, most often.
fn cut(line: &str, columns: usize) -> String {
    let columns = columns.max(FILTER_COLUMNS);
    match line.char_indices().nth(columns) {
        Some(_) => line.chars().take(columns - 1).chain(['…']).collect(),
        None => line.to_owned(),
    }
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn bytes(count: Option<f64>) -> String {
    let mut count = count.unwrap_or(0.0);
    let mut units = ["B", "KiB", "MiB", "GiB", "TiB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    while count >= 1024.0
        && let Some(next) = units.next()
    {
        (count, unit) = (count / 1024.0, next);
    }
    format!("{count:.1} {unit}")
}

fn duration(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(seconds) if seconds < 1.0 => format!("{:.1} ms", seconds * 1000.0),
        Some(seconds) if seconds < 120.0 => format!("{seconds:.0} s"),
        Some(seconds) if seconds < 7200.0 => format!("{:.0} min", seconds / 60.0),
        Some(seconds) if seconds < 172_800.0 => format!("{:.0} h", seconds / 3600.0),
        Some(seconds) => format!("{:.0} d", seconds / 86400.0),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn streams_are_rows_and_lines_fit() {
        let stream = |n: u64, filter: &str| {
            json!({
                "scope": "collection shop.orders", "transport": "sse", "client": "127.0.0.1:5000", "matched": n,
                "delivered": n, "lagEntries": 0, "expiresInSeconds": 90.0, "filter": filter, "pipeline": null,
            })
        };
        let stats = json!({
            "version": "1", "uptimeSeconds": 7300.0,
            "log": { "path": "/store/log", "term": 1, "oldest": 1, "appended": 1_234_567, "durable": 1_234_567,
                "released": 1_234_567, "bytes": 3 << 20, "segmentCount": 2, "syncMicrosP99": 1500, "poisoned": false },
            "history": [{ "delivered": 12.0 }],
            "watches": { "total": 2, "told": [stream(7, "n > 1"), stream(12_345, &"x".repeat(200))] },
            "consumers": [],
            "http": { "connections": 3 },
            "wire": null,
        });
        let lines = draw(&stats, "here", (50, 100));
        assert!(
            lines[0].contains("up 2 h") && lines[2].contains("1,234,567"),
            "{lines:#?}"
        );
        assert!(lines[2].contains("3.0 MiB in 2 segments"), "{lines:#?}");
        let at = lines.iter().position(|line| line.starts_with("WATCHES")).unwrap();
        assert!(lines[at + 1].contains("        7          7    0  90 s"), "{lines:#?}");
        assert!(lines[at + 1].ends_with("90 s     n > 1"), "{lines:#?}");
        assert!(lines.iter().all(|line| line.chars().count() <= 100), "{lines:#?}");
        assert_eq!(draw(&stats, "here", (3, 100)).len(), 3);
    }
}
