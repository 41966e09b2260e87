//! What the pops in a trace took of the database's list, as far as that is known.
//!
//! A replay lets a pop take the element that its client was given, by its value. So a trace that is in the canonical
//! order stands for a replay only if each pop in it took what it takes there.

use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;

use crate::causality::Dot;
use crate::command::effect::Effect;
use crate::converge::content::{Content, Kind};
use crate::converge::list::{Sequence, Taken, of_dump};

/// How a pop was executed.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Form {
    /// As it came: the values that it took, if that is known.
    Pop(Option<Vec<Bytes>>),
    /// As the removal of this value, or of several, one by one.
    Removal(Bytes),
}

/// A list that began with a value that was sent, or with nothing, and what pops took.
#[derive(Debug, Clone, Default)]
pub(super) struct Popped {
    /// What stands on that; where the rules by element hold, the content knows it.
    list: Option<Sequence>,
    /// In the order of their execution; shared, for what is held is copied to foresee what will be.
    forms: Vec<(Dot, Rc<Form>)>,
}

impl Popped {
    /// What a pop would take of a list that holds this content.
    pub fn next(&self, content: &Content, effect: &Effect) -> Option<Taken> {
        let of_content = content.list.as_deref().filter(|_| content.kind == Kind::List);
        of_content.or(self.list.as_ref())?.given_by(effect)
    }

    /// How a command takes something of a list that holds this content, if it is a pop or stands for one.
    pub fn form(&self, content: &Content, effect: &Effect, dot: Option<Dot>) -> Option<Form> {
        dot?;
        match effect {
            // No client's command is read as that.
            Effect::ListRemove { element, .. } => Some(Form::Removal(element.1.clone())),
            Effect::ListPop { .. } => {
                let taken = self.next(content, effect);
                let values = taken.and_then(|taken| taken.into_iter().map(|(_, value)| value).collect());
                Some(Form::Pop(values))
            }
            _ => None,
        }
    }

    /// It has been executed; `took` tells whether it took effect.
    pub fn executed(&mut self, effect: &Effect, dot: Option<Dot>, form: Option<Form>, took: bool) {
        self.forms.extend(dot.zip(form.map(Rc::new)));
        match effect {
            Effect::Expire { .. } | Effect::ListTook { .. } => {}
            Effect::Restore { payload, .. } => self.list = dot.and_then(|dot| of_dump(payload, dot)),
            Effect::Del => self.list = Some(Sequence::default()),
            Effect::ListPush { .. }
            | Effect::ListPop { .. }
            | Effect::ListInsert { .. }
            | Effect::ListRemove { .. } => {
                self.list
                    .take_if(|list| took != list.has(effect) || took && !list.change(effect));
            }
            Effect::Opaque if !took => {}
            _ => self.list = None,
        }
    }

    /// How each pop was executed.
    pub fn forms(&self) -> BTreeMap<Dot, Vec<&Form>> {
        let mut forms: BTreeMap<Dot, Vec<&Form>> = BTreeMap::new();
        for (dot, form) in &self.forms {
            forms.entry(*dot).or_default().push(form);
        }
        forms
    }

    /// There is no trace any more, or it begins anew.
    pub fn forget(&mut self) {
        self.forms.clear();
    }

    /// Whether a pop that was executed in these forms took there what it takes in the other.
    pub fn took_as(executed: &[&Form], replayed: Option<&[Effect]>) -> bool {
        let removed = executed.iter().filter_map(|form| match form {
            Form::Removal(value) => Some(value),
            Form::Pop(_) => None,
        });
        let Some(replayed) = replayed else {
            return removed.count() == 0;
        };
        let wanted = replayed.iter().filter_map(|effect| match effect {
            Effect::ListRemove { element, .. } => Some(&element.1),
            _ => None,
        });
        match executed {
            [Form::Pop(values)] => values.as_ref().is_some_and(|values| wanted.eq(values)),
            _ => removed.eq(wanted),
        }
    }

    /// These are no longer in the trace.
    pub fn retain(&mut self, is_kept: impl Fn(Dot) -> bool) {
        self.forms.retain(|(dot, _)| is_kept(*dot));
    }
}
