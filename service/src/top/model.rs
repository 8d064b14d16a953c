//! What the view of `top` shows, and what keys on the keyboard do to it. Pure: time and changes are given.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use shared_store::{KeyName, Revision, State};

/// How many changes are remembered.
const CHANGES: usize = 1000;
const SECONDS: usize = 60;

/// In which order keys are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Name,
    /// The key that changed last comes first.
    Newest,
}

/// What happened to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Created,
    Modified,
    Deleted,
}

/// A change that was told.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) at: Instant,
    pub(crate) kind: Kind,
    pub(crate) name: KeyName,
    pub(crate) revision: Revision,
    /// The value before, as text.
    pub(crate) old: Option<String>,
}

/// An owner with its number of keys.
#[derive(Debug, Clone)]
pub(crate) struct Owner {
    pub(crate) lease: String,
    pub(crate) keys: usize,
    pub(crate) ttl: Option<u64>,
}

/// What is over the table, if anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    Nothing,
    Help,
    Key,
}

/// What the loop is to do after a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Nothing,
    Quit,
}

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) title: String,
    pub(crate) state: State,
    pub(crate) revision: Revision,
    pub(crate) total: usize,
    /// The keys that pass the filter, in their order.
    pub(crate) names: Vec<KeyName>,
    pub(crate) selected: usize,
    /// The first row that is shown.
    pub(crate) first: usize,
    pub(crate) order: Order,
    pub(crate) filter: String,
    /// Whether the filter is being typed.
    pub(crate) typing: bool,
    pub(crate) paused: bool,
    pub(crate) over: Over,
    pub(crate) changes: VecDeque<Told>,
    /// The last change of each key, by its number.
    changed: HashMap<KeyName, (u64, Instant)>,
    told: u64,
    /// Changes of each of the last seconds, the newest first, and when that one began.
    rates: VecDeque<u32>,
    second: u64,
    begun: Instant,
    pub(crate) owners: Vec<Owner>,
}

impl Model {
    pub(crate) fn new(title: String, now: Instant) -> Self {
        Self {
            title,
            state: State::Connecting { cause: None },
            revision: Revision::ZERO,
            total: 0,
            names: Vec::new(),
            selected: 0,
            first: 0,
            order: Order::Name,
            filter: String::new(),
            typing: false,
            paused: false,
            over: Over::Nothing,
            changes: VecDeque::new(),
            changed: HashMap::new(),
            told: 0,
            rates: VecDeque::from([0; SECONDS]),
            second: 0,
            begun: now,
            owners: Vec::new(),
        }
    }

    /// A key has changed since the first state.
    pub(crate) fn tell(&mut self, told: Told) {
        self.roll(told.at);
        self.rates[0] += 1;
        self.told += 1;
        if told.kind == Kind::Deleted {
            self.changed.remove(&told.name);
        } else {
            self.changed.insert(told.name.clone(), (self.told, told.at));
        }
        if !self.paused {
            self.changes.push_front(told);
            self.changes.truncate(CHANGES);
        }
    }

    /// Forgets the counts of seconds that are over.
    fn roll(&mut self, now: Instant) {
        let second = now.saturating_duration_since(self.begun).as_secs();
        while self.second < second {
            // After a long time all are over at once.
            self.second = if second - self.second > SECONDS as u64 { second - SECONDS as u64 } else { self.second + 1 };
            self.rates.pop_back();
            self.rates.push_front(0);
        }
    }

    /// Changes in the last whole second, and in the last minute.
    pub(crate) fn rates(&mut self, now: Instant) -> (u32, u32) {
        self.roll(now);
        (self.rates[1], self.rates.iter().sum())
    }

    /// How long ago a key changed, if that was seen.
    pub(crate) fn age(&self, name: &KeyName, now: Instant) -> Option<Duration> {
        self.changed.get(name).map(|(_, at)| now.saturating_duration_since(*at))
    }

    /// The last change of a key, if it is remembered.
    pub(crate) fn last_change(&self, name: &KeyName) -> Option<&Told> {
        self.changes.iter().find(|told| told.name == *name)
    }

    /// All names there are, in their order: those that pass are shown. The cursor stays on its key.
    pub(crate) fn refresh(&mut self, names: impl Iterator<Item = KeyName>) {
        let at = self.names.get(self.selected).cloned();
        let mut total = 0;
        let passes = |name: &KeyName| self.filter.is_empty() || name.contains(&*self.filter);
        self.names = names.inspect(|_| total += 1).filter(passes).collect();
        self.total = total;
        if self.order == Order::Newest {
            let changed = &self.changed;
            let number = |name: &KeyName| std::cmp::Reverse(changed.get(name).map_or(0, |(number, _)| *number));
            self.names.sort_by_key(number);
        }
        let found = at.and_then(|at| self.names.iter().position(|name| *name == at));
        self.selected = found.unwrap_or(self.selected).min(self.names.len().saturating_sub(1));
    }

    /// The rows that fit, so that the cursor is among them.
    pub(crate) fn window(&mut self, height: usize) -> &[KeyName] {
        let last = self.first + height.max(1) - 1;
        if self.selected < self.first {
            self.first = self.selected;
        } else if self.selected > last {
            self.first += self.selected - last;
        }
        self.first = self.first.min(self.names.len().saturating_sub(height));
        &self.names[self.first..self.names.len().min(self.first + height)]
    }

    pub(crate) fn cursor(&self) -> Option<&KeyName> {
        self.names.get(self.selected)
    }

    /// A key while the filter is being typed.
    #[allow(clippy::wildcard_enum_match_arm, reason = "all other keys do nothing")]
    fn typed(&mut self, key: KeyCode) {
        match key {
            KeyCode::Char(c) => self.filter.push(c),
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.typing = false;
                self.filter.clear();
            }
            _ => {}
        }
    }

    /// A key on the keyboard. `page` is how many rows fit.
    #[allow(clippy::wildcard_enum_match_arm, reason = "all other keys do nothing")]
    pub(crate) fn key(&mut self, key: KeyEvent, page: usize) -> Asked {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Asked::Quit;
        }
        if self.typing {
            self.typed(key.code);
            return Asked::Nothing;
        }
        let last = self.names.len().saturating_sub(1);
        match key.code {
            KeyCode::Char('q') => return Asked::Quit,
            KeyCode::Esc if self.over != Over::Nothing => self.over = Over::Nothing,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('?') => self.over = if self.over == Over::Help { Over::Nothing } else { Over::Help },
            KeyCode::Enter if self.cursor().is_some() => self.over = Over::Key,
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Char('p') => self.paused = !self.paused,
            KeyCode::Char('o') => self.order = if self.order == Order::Name { Order::Newest } else { Order::Name },
            KeyCode::Char('j') | KeyCode::Down => self.selected = (self.selected + 1).min(last),
            KeyCode::Char('k') | KeyCode::Up => self.selected = self.selected.saturating_sub(1),
            KeyCode::PageDown => self.selected = (self.selected + page).min(last),
            KeyCode::PageUp => self.selected = self.selected.saturating_sub(page),
            KeyCode::Char('g') | KeyCode::Home => self.selected = 0,
            KeyCode::Char('G') | KeyCode::End => self.selected = last,
            _ => {}
        }
        Asked::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> KeyName {
        KeyName::new(text).unwrap()
    }

    fn names(count: usize) -> Vec<KeyName> {
        (0..count).map(|n| name(&format!("k{n:03}"))).collect()
    }

    fn press(model: &mut Model, keys: &str) -> Asked {
        let mut asked = Asked::Nothing;
        for c in keys.chars() {
            let code = match c {
                '\n' => KeyCode::Enter,
                '\x1b' => KeyCode::Esc,
                c => KeyCode::Char(c),
            };
            asked = model.key(KeyEvent::new(code, KeyModifiers::NONE), 10);
        }
        asked
    }

    fn told(kind: Kind, of: &str, at: Instant) -> Told {
        Told { at, kind, name: name(of), revision: Revision(2), old: None }
    }

    #[test]
    fn rates_count_the_last_second_and_the_last_minute() {
        let begun = Instant::now();
        let mut model = Model::new(String::new(), begun);
        let at = |seconds: u64| begun + Duration::from_secs(seconds);
        for second in [0, 0, 1, 1, 1, 2] {
            model.tell(told(Kind::Modified, "a", at(second)));
        }
        assert_eq!(model.rates(at(2)), (3, 6));
        assert_eq!(model.rates(at(3)), (1, 6));
        assert_eq!(model.rates(at(61)), (0, 1), "those of the seconds 0 and 1 are over");
        assert_eq!(model.rates(at(1000)), (0, 0));
    }

    #[test]
    fn the_cursor_stays_on_its_key_while_others_come_and_go() {
        let mut model = Model::new(String::new(), Instant::now());
        model.refresh(names(100).into_iter());
        press(&mut model, "jjjjj");
        assert_eq!(model.cursor(), Some(&name("k005")));
        model.refresh(names(100).into_iter().skip(3));
        assert_eq!((model.cursor(), model.selected), (Some(&name("k005")), 2));
        press(&mut model, "G");
        assert_eq!(model.window(10).last(), Some(&name("k099")));
        model.refresh(names(4).into_iter());
        assert_eq!(model.cursor(), Some(&name("k003")));
        assert_eq!(model.window(10).len(), 4);
        model.refresh(std::iter::empty());
        assert!(model.cursor().is_none() && model.window(10).is_empty());
        press(&mut model, "jkG\n");
        assert_eq!(model.over, Over::Nothing);
    }

    #[test]
    fn the_filter_is_typed_and_the_newest_change_can_come_first() {
        let now = Instant::now();
        let mut model = Model::new(String::new(), now);
        assert_eq!(press(&mut model, "/01q"), Asked::Nothing, "q is a letter of the filter");
        press(&mut model, "\x1b/01\n");
        model.refresh(names(30).into_iter());
        assert_eq!((model.names.len(), model.total, &*model.filter), (11, 30, "01"));
        model.tell(told(Kind::Modified, "k012", now));
        model.tell(told(Kind::Created, "k015", now));
        model.tell(told(Kind::Deleted, "k012", now));
        press(&mut model, "o");
        model.refresh(names(30).into_iter());
        assert_eq!(model.names[..2], [name("k015"), name("k001")]);
        assert_eq!(model.last_change(&name("k012")).unwrap().kind, Kind::Deleted);
        assert_eq!(press(&mut model, "?q"), Asked::Quit);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_stands_still_while_paused() {
        let now = Instant::now();
        let mut model = Model::new(String::new(), now);
        for _ in 0..CHANGES + 5 {
            model.tell(told(Kind::Modified, "a", now));
        }
        assert_eq!((model.changes.len(), model.changed.len()), (CHANGES, 1));
        press(&mut model, "p");
        model.tell(told(Kind::Created, "b", now));
        assert_eq!(&*model.changes[0].name, "a");
    }
}
