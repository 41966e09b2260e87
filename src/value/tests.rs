//! Values there and back, every encoding by hand, and payloads that lie.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod damaged;
mod encodings;

use bytes::{BufMut, Bytes, BytesMut};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;

use super::decode::checksum_of;
use super::listpack::Writer;
use super::*;

/// A payload with a right footer.
fn sealed(body: &[u8], version: u16) -> Bytes {
    let mut out = BytesMut::from(body);
    out.put_u16_le(version);
    let checksum = checksum_of(&out);
    out.put_u64_le(checksum);
    out.freeze()
}

fn text(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn texts(words: &'static str) -> Vec<Bytes> {
    words.split(' ').map(text).collect()
}

fn field(name: &'static str, value: &'static str, expires_unix_ms: Option<u64>) -> Field {
    Field {
        name: text(name),
        value: text(value),
        expires_unix_ms,
    }
}

fn id(ms: u64, seq: u64) -> StreamId {
    StreamId { ms, seq }
}

/// Texts of every form that packed collections tell apart.
fn any_text() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        vec(any::<u8>(), 0..80).prop_map(Bytes::from),
        any::<i64>().prop_map(|number| Bytes::from(number.to_string())),
        (-5000_i64..5000).prop_map(|number| Bytes::from(number.to_string())),
        (0_usize..70_000).prop_map(|len| Bytes::from(vec![b'x'; len])),
        Just(Bytes::from_static(b"-0")),
        Just(Bytes::from_static(b"007")),
    ]
}

fn any_id() -> impl Strategy<Value = StreamId> {
    prop_oneof![
        (0_u64..50, 0_u64..5).prop_map(|(ms, seq)| id(ms, seq)),
        (any::<u64>(), any::<u64>()).prop_map(|(ms, seq)| id(ms, seq)),
    ]
}

fn any_group() -> impl Strategy<Value = Group> {
    let consumers = btree_map(
        vec(any::<u8>(), 0..6).prop_map(Bytes::from),
        -1_i64..1 << 50,
        1..4,
    );
    let pending = btree_map(any_id(), (any::<usize>(), any::<u64>()), 0..8);
    let read = proptest::option::of(0_u64..1 << 40);
    (any_text(), any_id(), read, pending, consumers).prop_map(
        |(name, last_id, entries_read, pending, consumers)| {
            let consumer = |(name, seen_unix_ms)| Consumer {
                name,
                seen_unix_ms,
                active_unix_ms: -1,
            };
            let consumers: Vec<Consumer> = consumers.into_iter().map(consumer).collect();
            let pending = pending.into_iter().map(|(id, (owner, deliveries))| Pending {
                id,
                consumer: consumers[owner % consumers.len()].name.clone(),
                delivered_unix_ms: owner as i64,
                deliveries,
            });
            Group {
                name,
                last_id,
                entries_read,
                pending: pending.collect(),
                consumers: consumers.clone(),
            }
        },
    )
}

fn any_stream() -> impl Strategy<Value = Stream> {
    let fields = vec((vec(b'a'..b'd', 0..2).prop_map(Bytes::from), any_text()), 1..4);
    let entries = btree_map(any_id(), fields, 0..12);
    (entries, any_id(), any_id(), any::<u64>(), vec(any_group(), 0..3)).prop_map(
        |(entries, last, max_deleted_id, entries_added, mut groups)| {
            let entries: Vec<Entry> = entries
                .into_iter()
                .map(|(id, fields)| Entry { id, fields })
                .collect();
            let top = entries.last().map_or(last, |entry| entry.id.max(last));
            groups.sort_by(|a, b| a.name.cmp(&b.name));
            groups.dedup_by(|a, b| a.name == b.name);
            Stream {
                entries,
                last_id: top,
                max_deleted_id,
                entries_added,
                groups,
            }
        },
    )
}

fn any_value() -> impl Strategy<Value = Value> {
    let score = any::<f64>().prop_filter("a number", |score| !score.is_nan());
    let expiry = proptest::option::of(1_u64..=FIELD_EXPIRY_MAX_UNIX_MS);
    let fields = btree_map(any_text(), (any_text(), expiry), 1..20).prop_map(|fields| {
        let field = |(name, (value, expires_unix_ms))| Field {
            name,
            value,
            expires_unix_ms,
        };
        Value::hash(fields.into_iter().map(field).collect()).unwrap()
    });
    prop_oneof![
        any_text().prop_map(Value::String),
        vec(any_text(), 1..20).prop_map(|texts| Value::list(texts).unwrap()),
        btree_set(any_text(), 1..20).prop_map(|texts| Value::set(texts.into_iter().collect()).unwrap()),
        btree_map(any_text(), score, 1..20).prop_map(|members| {
            let members = members.into_iter().map(|(member, score)| (score, member));
            Value::sorted_set(members.collect()).unwrap()
        }),
        fields,
        any_stream().prop_map(Value::Stream),
    ]
}

/// What is left of a value in an older format.
fn as_known_to(version: u16, value: &Value) -> Value {
    let Value::Stream(stream) = value else {
        return value.clone();
    };
    let mut stream = stream.clone();
    if version < 11 {
        let consumers = stream.groups.iter_mut().flat_map(|group| &mut group.consumers);
        consumers.for_each(|consumer| consumer.active_unix_ms = consumer.seen_unix_ms);
    }
    if version < 10 {
        stream.max_deleted_id = StreamId::default();
        stream.entries_added = stream.entries.len() as u64;
        stream
            .groups
            .iter_mut()
            .for_each(|group| group.entries_read = None);
    }
    Value::Stream(stream)
}

proptest! {
    #[test]
    fn what_was_encoded_comes_back(value in any_value()) {
        for version in [9, 10, 11, 12, 80] {
            match encode(&value, version) {
                Ok(payload) => {
                    prop_assert!(check_footer(&payload).unwrap() <= version);
                    prop_assert_eq!(decode(&payload).unwrap(), as_known_to(version, &value));
                }
                Err(error) => {
                    let has_expiry = matches!(&value, Value::Hash(fields)
                        if fields.iter().any(|field| field.expires_unix_ms.is_some()));
                    prop_assert!(has_expiry && version < 12, "{error}");
                }
            }
        }
    }

    #[test]
    fn a_listpack_of_texts_comes_back(texts in vec(any_text(), 0..40)) {
        let mut writer = Writer::new();
        texts.iter().for_each(|text| writer.text(text));
        let blob = writer.finish();
        let found: Result<Vec<_>, _> = listpack::Elements::new(blob).unwrap().collect();
        let found: Vec<Bytes> = found.unwrap().into_iter().map(blob::Element::into_text).collect();
        prop_assert_eq!(found, texts);
    }
}

#[test]
fn the_plainest_types_go_to_the_oldest_server() {
    let values = [
        Value::String(text("x")),
        Value::list(texts("b a")).unwrap(),
        Value::set(texts("b a")).unwrap(),
        Value::sorted_set(vec![(2.0, text("a")), (1.0, text("b"))]).unwrap(),
        Value::hash(vec![field("f", "v", None)]).unwrap(),
        Value::Stream(Stream::default()),
    ];
    let codes = values.map(|value| {
        let payload = encode(&value, 9).unwrap();
        (payload[0], check_footer(&payload).unwrap())
    });
    assert_eq!(codes, [(0, 9), (1, 9), (2, 9), (5, 9), (4, 9), (15, 9)]);
}

#[test]
fn newer_types_are_used_where_they_are_needed_alone() {
    let stream = Value::Stream(Stream::default());
    let code = |value, version| {
        let payload = encode(value, version)?;
        Ok::<_, EncodeError>((payload[0], check_footer(&payload).unwrap()))
    };
    let streams = [9, 10, 11, 12, 80].map(|version| code(&stream, version).unwrap());
    assert_eq!(streams, [(15, 9), (19, 10), (21, 11), (21, 11), (21, 11)]);
    let hash = Value::hash(vec![field("f", "v", Some(5))]).unwrap();
    assert_eq!(code(&hash, 12).unwrap(), (24, 12));
    assert_eq!(code(&hash, 80).unwrap(), (22, 80));
    let error = code(&hash, 11).unwrap_err().to_string();
    assert_eq!(
        error,
        "expiry times of a hash's fields are unknown to the database, which reads format version 11"
    );
}

#[test]
fn versions_of_servers() {
    let redis = |version| newest_version(false, version);
    let valkey = |version| newest_version(true, version);
    assert_eq!(
        [(6, 2), (7, 0), (7, 2), (7, 4), (8, 2)].map(redis),
        [9, 10, 11, 12, 12]
    );
    assert_eq!([(7, 2), (8, 1), (9, 0), (10, 0)].map(valkey), [11, 11, 80, 80]);
}

#[test]
fn what_no_database_holds_is_not_written() {
    assert!(encode(&Value::List(Vec::new()), 9).is_err());
    assert!(encode(&Value::Hash(Vec::new()), 9).is_err());
    let entry = |ms| Entry {
        id: id(ms, 0),
        fields: vec![(text("f"), text("v"))],
    };
    let falls = Stream {
        entries: vec![entry(2), entry(1)],
        last_id: id(2, 0),
        ..Stream::default()
    };
    assert!(encode(&Value::Stream(falls), 9).is_err());
}

#[test]
fn names_shared_by_entries_are_written_once_for_a_hundred() {
    let name = Bytes::from(vec![b'n'; 10_000]);
    let entry = |ms| Entry {
        id: id(ms, 0),
        fields: vec![(name.clone(), text("v"))],
    };
    let stream = Stream {
        entries: (1..=1000).map(entry).collect(),
        last_id: id(1000, 0),
        ..Stream::default()
    };
    let value = Value::Stream(stream);
    let payload = encode(&value, 11).unwrap();
    assert!(payload.len() < 11 * 10_000 + 20_000, "{}", payload.len());
    assert_eq!(decode(&payload).unwrap(), value);
}
