//! What clients write, and what commands mean.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::database::Command;
use super::world::{Book, World};
use crate::command::effect::{Effect, SetExpiry, parse};
use crate::command::pieces::name_bits;
use crate::command::{EffectClass, spec};

impl World {
    pub(super) fn command(&mut self) -> Command {
        self.value += 1;
        let element = Bytes::from(["a", "b"][self.random.below(2) as usize]);
        let text = match self.random.below(2) {
            0 => Bytes::from(self.random.below(100).to_string()),
            _ => Bytes::from(format!("v{}", self.value)),
        };
        let delta = [1, 2, -1, 10][self.random.below(4) as usize];
        if self.random.chance(if self.load.queue { 0 } else { 12 }) {
            return Command::Effect(Effect::Del);
        }
        if self.load.expiry && self.random.chance(25) {
            let at_unix_ms = self.random.chance(70).then(|| 1_000_000 + self.random.below(50));
            return Command::Effect(Effect::Expire { at_unix_ms });
        }
        if self.load.fields && self.random.chance(45) {
            return Command::Effect(self.fields(element, text));
        }
        let load = self.load;
        let kinds = [
            (load.texts, 0),
            (load.sets, 1),
            (load.hashes, 2),
            (load.lists, 3),
            (load.sorted, 4),
            (load.bits, 5),
            (load.unions, 6),
            (load.edits, 7),
        ];
        let kinds: Vec<u8> = kinds
            .iter()
            .filter(|(on, _)| *on)
            .map(|(_, kind)| *kind)
            .collect();
        let kind = kinds[self.random.below(kinds.len() as u64) as usize];
        Command::Effect(match (kind, self.random.below(100)) {
            (0, 0..45) => Effect::Set {
                value: text,
                expiry: self.set_expiry(),
            },
            (0, _) => Effect::Count { delta },
            (1, 0..50) => Effect::SetAdd(vec![element]),
            (1, _) => Effect::SetRemove(vec![element]),
            (2, 0..35) => Effect::HashSet(vec![(element, text)]),
            (2, 35..60) => Effect::HashRemove(vec![element]),
            (2, _) => Effect::HashCount {
                field: element,
                delta,
            },
            (5, _) => self.bits(),
            (6, _) => Effect::Union(vec![Bytes::from(format!("e{}", self.random.below(6)))]),
            (4, 0..45) => Effect::SortedAdd(vec![(self.value as f64, element)]),
            (4, 45..70) => Effect::SortedRemove(vec![element]),
            (4, _) => Effect::SortedCount {
                member: element,
                delta: delta as f64,
            },
            (3, 0..60) => Effect::ListPush {
                left: self.random.chance(50),
                elements: (0..=self.random.below(2))
                    .map(|item| (Bytes::new(), Bytes::from(format!("e{}-{item}", self.value))))
                    .collect(),
            },
            (3, _) => Effect::ListPop {
                left: self.random.chance(50),
                count: if self.random.chance(85) { 1 } else { 2 },
                took: None,
            },
            (_, 0..5) => Effect::Set {
                value: text,
                expiry: SetExpiry::Clear,
            },
            (_, 5..62) => {
                return Command::Push {
                    left: self.random.chance(50),
                    value: text,
                };
            }
            _ => {
                return Command::Pop {
                    left: self.random.chance(50),
                };
            }
        })
    }

    fn fields(&mut self, field: Bytes, value: Bytes) -> Effect {
        let ms = 1_000_000 + self.random.below(50);
        let mut fields = vec![field.clone()];
        if self.random.chance(30) {
            fields = ["a", "b"]
                .map(|name| Bytes::from_static(name.as_bytes()))
                .to_vec();
        }
        let pairs = vec![(field, value)];
        match self.random.below(100) {
            0..55 => Effect::FieldExpire {
                fields,
                at_unix_ms: Some(ms),
            },
            55..70 => Effect::FieldExpire {
                fields,
                at_unix_ms: None,
            },
            70..85 => Effect::HashSetTimed {
                pairs,
                expiry: SetExpiry::At(ms),
            },
            _ => Effect::HashSetTimed {
                pairs,
                expiry: SetExpiry::Keep,
            },
        }
    }

    fn bits(&mut self) -> Effect {
        let mut bits = BTreeMap::from([(self.random.below(20), self.random.chance(50))]);
        if self.random.chance(20) {
            bits.insert(20 + self.random.below(12), self.random.chance(50));
        }
        Effect::Bits(name_bits(bits))
    }

    fn set_expiry(&mut self) -> SetExpiry {
        match self.random.below(4) {
            0 if self.load.expiry => SetExpiry::At(1_000_000 + self.random.below(50)),
            1 if self.load.expiry => SetExpiry::Keep,
            _ => SetExpiry::Clear,
        }
    }
}

pub(super) fn class_of(effect: &Effect) -> EffectClass {
    match effect {
        Effect::Del => EffectClass::Delete,
        Effect::Set { .. } => EffectClass::Set,
        Effect::Count { .. } => EffectClass::Count,
        Effect::SetAdd(_) => EffectClass::SetAdd,
        Effect::SetRemove(_) => EffectClass::SetRemove,
        Effect::HashSet(_) => EffectClass::HashSet,
        Effect::HashRemove(_) => EffectClass::HashRemove,
        Effect::HashCount { .. } => EffectClass::HashCount,
        Effect::Expire { .. } => EffectClass::Expire,
        Effect::SortedAdd(_) => EffectClass::SortedAdd,
        Effect::SortedRemove(_) => EffectClass::SortedRemove,
        Effect::SortedCount { .. } => EffectClass::SortedCount,
        Effect::Restore { .. } => EffectClass::Restore,
        Effect::Bits(_) => EffectClass::Bits,
        Effect::Union(_) => EffectClass::Union,
        _ => EffectClass::Opaque,
    }
}

fn score(text: &[u8]) -> f64 {
    std::str::from_utf8(text).unwrap().parse().unwrap()
}

impl Book {
    /// What a raw command means: what a client wrote, or what the engine rendered.
    pub(super) fn command(&self, raw: &Bytes) -> Command {
        if let Some(command) = self.commands.get(raw) {
            return command.clone();
        }
        let text = String::from_utf8(raw.to_vec()).unwrap();
        let words: Vec<Bytes> = text
            .split("\r\n")
            .skip(2)
            .step_by(2)
            .map(|word| Bytes::from(word.to_owned()))
            .collect();
        let number = |at: usize| std::str::from_utf8(&words[at]).unwrap().parse::<i64>().unwrap();
        let rest = || words[2..].to_vec();
        match &words[0][..] {
            b"LREM" => {
                return Command::Take {
                    left: &words[2][..] == b"1",
                    value: words[3].clone(),
                };
            }
            b"LINSERT" => {
                return Command::Insert {
                    before: &words[2][..] == b"BEFORE",
                    pivot: words[3].clone(),
                    value: words[4].clone(),
                };
            }
            _ => {}
        }
        Command::Effect(match &words[0][..] {
            b"DEL" => Effect::Del,
            b"SET" => {
                let expiry = match words.get(3).map(|word| &word[..]) {
                    Some(b"KEEPTTL") => SetExpiry::Keep,
                    Some(_) => SetExpiry::At(number(4) as u64),
                    None => SetExpiry::Clear,
                };
                Effect::Set {
                    value: words[2].clone(),
                    expiry,
                }
            }
            name @ (b"LPUSH" | b"RPUSH") => Effect::ListPush {
                left: name == b"LPUSH",
                elements: rest().into_iter().map(|value| (Bytes::new(), value)).collect(),
            },
            name @ (b"LPOP" | b"RPOP") => Effect::ListPop {
                left: name == b"LPOP",
                count: number(2) as u64,
                took: None,
            },
            b"INCRBY" => Effect::Count { delta: number(2) },
            b"SADD" => Effect::SetAdd(rest()),
            b"SREM" => Effect::SetRemove(rest()),
            b"HDEL" => Effect::HashRemove(rest()),
            b"HSET" => Effect::HashSet(
                words[2..]
                    .chunks(2)
                    .map(|pair| (pair[0].clone(), pair[1].clone()))
                    .collect(),
            ),
            b"HINCRBY" => Effect::HashCount {
                field: words[2].clone(),
                delta: number(3),
            },
            b"ZADD" => Effect::SortedAdd(
                words[2..]
                    .chunks(2)
                    .map(|pair| (score(&pair[0]), pair[1].clone()))
                    .collect(),
            ),
            b"ZREM" => Effect::SortedRemove(rest()),
            b"ZINCRBY" => Effect::SortedCount {
                member: words[3].clone(),
                delta: score(&words[2]),
            },
            name @ (b"SETBIT" | b"BITFIELD" | b"PFADD" | b"HSETEX" | b"HPEXPIREAT" | b"HPERSIST") => {
                let shares = parse(spec(name).unwrap(), &words).unwrap();
                shares[0].effect.clone().unwrap()
            }
            b"PERSIST" => Effect::Expire { at_unix_ms: None },
            b"PEXPIREAT" => Effect::Expire {
                at_unix_ms: Some(number(2) as u64),
            },
            other => unreachable!("{other:?}"),
        })
    }
}
