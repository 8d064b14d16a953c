//! Draws the model.

use std::time::{Duration, Instant};

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Clear, Paragraph, Row, Table, Wrap};
use shared_store::{KeyName, State};

use super::model::{Kind, Model, Order, Over};
use crate::printable::printable;

/// A key as the table and the panel of one key show it.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) lease: Option<String>,
    pub(crate) own: bool,
    pub(crate) size: usize,
    pub(crate) revision: u64,
    pub(crate) create_revision: u64,
    /// On one line.
    pub(crate) value: String,
}

const HELP: &str = "\
j k, arrows   next, previous key      PgUp PgDn g G   page, first, last
Enter         all of a key            Esc             close, no filter
/             filter names            o               by name, newest first
p             hold the changes        q, ctrl-c       quit";

/// Rows of the frame around and above the keys.
pub(crate) const FIXED: u16 = 7;

pub(crate) fn draw(frame: &mut Frame<'_>, model: &mut Model, now: Instant, look: &dyn Fn(&KeyName) -> Option<Shown>) {
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(3), Constraint::Fill(1), Constraint::Length(1)]).areas(frame.area());
    let [keys, side] = Layout::horizontal([Constraint::Fill(3), Constraint::Fill(2)]).areas(body);
    let [changes, owners] = Layout::vertical([Constraint::Fill(3), Constraint::Fill(1)]).areas(side);
    header(frame, head, model, now);
    table(frame, keys, model, now, look);
    told(frame, changes, model, now);
    owned(frame, owners, model);
    footer(frame, foot, model);
    match model.over {
        Over::Nothing => {}
        Over::Help => over(frame, " Keys ", HELP),
        Over::Key => {
            if let Some(name) = model.cursor().cloned() {
                over(frame, " Key ", &one(model, &name, now, look(&name).as_ref()));
            }
        }
    }
}

fn header(frame: &mut Frame<'_>, area: Rect, model: &mut Model, now: Instant) {
    let (second, minute) = model.rates(now);
    let state = &model.state;
    let (words, colour) = if *state == State::Synced {
        ("fresh: every change is shown".to_owned(), Color::Green)
    } else if let State::Stale { since, cause } = state {
        (format!("STALE for {}: {cause}", ago(now.saturating_duration_since(*since))), Color::Red)
    } else {
        (state.to_string(), Color::Yellow)
    };
    let counts = format!("{} keys  revision {}  {second}/s  {minute} in the last minute", model.total, model.revision);
    let lines = vec![
        Line::from(vec![Span::styled("shared-store top  ", bold()), Span::raw(printable(&model.title).into_owned())]),
        Line::styled(printable(&words).into_owned(), Style::new().fg(colour).add_modifier(Modifier::BOLD)),
        Line::raw(counts),
    ];
    frame.render_widget(Paragraph::new(lines), area);
}

fn table(frame: &mut Frame<'_>, area: Rect, model: &mut Model, now: Instant, look: &dyn Fn(&KeyName) -> Option<Shown>) {
    let order = if model.order == Order::Name { "by name" } else { "newest first" };
    let filter = if model.filter.is_empty() { String::new() } else { format!(", with {:?}", model.filter) };
    let title = format!(" {} keys {order}{filter} ", model.names.len());
    let height = usize::from(area.height.saturating_sub(3));
    let window = model.window(height).to_vec();
    let rows = window.iter().enumerate().map(|(index, name)| {
        let shown = look(name);
        let (owner, value) = shown.map_or_else(Default::default, |shown| {
            let owner = if shown.own { "this".to_owned() } else { shown.lease.unwrap_or_else(|| "-".to_owned()) };
            (owner, shown.value)
        });
        let age = model.age(name, now).map(ago).unwrap_or_default();
        let marked = model.first + index == model.selected;
        let mark = if marked { ">" } else { " " };
        let name = format!("{mark}{}", printable(name));
        let style = if marked { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
        Row::new([Cell::from(name), Cell::from(owner), Cell::from(age), Cell::from(value)]).style(style)
    });
    let widths = [Constraint::Fill(3), Constraint::Length(16), Constraint::Length(5), Constraint::Fill(4)];
    let head = Row::new([" NAME", "OWNER (LEASE)", "AGE", "VALUE"]).style(bold());
    frame.render_widget(Table::new(rows, widths).header(head).block(Block::bordered().title(title)), area);
}

fn told(frame: &mut Frame<'_>, area: Rect, model: &Model, now: Instant) {
    let lines = model.changes.iter().take(usize::from(area.height)).map(|told| {
        let (sign, colour) = match told.kind {
            Kind::Created => ("+", Color::Green),
            Kind::Modified => ("~", Color::Blue),
            Kind::Deleted => ("-", Color::Red),
        };
        let age = ago(now.saturating_duration_since(told.at));
        let text = format!("{sign} {age:>4} {} @{}", printable(&told.name), told.revision);
        Line::styled(text, Style::new().fg(colour))
    });
    let title = if model.paused { " Changes (held: p) " } else { " Changes " };
    frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()).block(Block::bordered().title(title)), area);
}

fn owned(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let lines = model.owners.iter().take(usize::from(area.height)).map(|owner| {
        let ttl = owner.ttl.map_or_else(String::new, |ttl| ago(Duration::from_secs(ttl)));
        Line::raw(format!("{:>6} {:16} {ttl}", owner.keys, owner.lease))
    });
    let title = format!(" {} owners: keys, lease, left ", model.owners.len());
    frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()).block(Block::bordered().title(title)), area);
}

fn footer(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let text = if model.typing {
        format!("/{}_   Enter keeps the filter, Esc drops it", printable(&model.filter))
    } else {
        "? help  / filter  o order  Enter key  p hold  q quit".to_owned()
    };
    frame.render_widget(Paragraph::new(text), area);
}

/// All that is known of a key.
fn one(model: &Model, name: &KeyName, now: Instant, shown: Option<&Shown>) -> String {
    let mut text = format!("{}\n\n", printable(name));
    match shown {
        Some(shown) => {
            let owner = match (&shown.lease, shown.own) {
                (Some(lease), true) => format!("this program, lease {lease}"),
                (Some(lease), false) => format!("lease {lease}"),
                (None, _) => "nobody: the key is under no lease".to_owned(),
            };
            let Shown { size, revision, create_revision, value, .. } = shown;
            text.push_str(&format!(
                "owner     {owner}\nrevision  {revision}, created at {create_revision}\nsize      {size} bytes\nvalue     {value}\n"
            ));
        }
        None => text.push_str("It is gone.\n"),
    }
    if let Some(told) = model.last_change(name) {
        let age = ago(now.saturating_duration_since(told.at));
        let old = told.old.as_deref().unwrap_or("nothing");
        text.push_str(&format!("\nchanged {age} ago, at revision {}; before: {old}\n", told.revision));
    }
    text
}

fn over(frame: &mut Frame<'_>, title: &str, text: &str) {
    let all = frame.area();
    let area = Rect {
        x: all.width / 20,
        y: all.height / 5,
        width: all.width - all.width / 10,
        height: (all.height * 3 / 5).max(3).min(all.height),
    };
    frame.render_widget(Clear, area);
    let block = Block::bordered().title(title.to_owned());
    frame.render_widget(Paragraph::new(text.to_owned()).wrap(Wrap { trim: false }).block(block), area);
}

fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

/// A time in at most four letters.
fn ago(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..=99 => format!("{seconds}s"),
        seconds @ 100..=5999 => format!("{}m", seconds / 60),
        seconds @ 6000..=359_999 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86400),
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use shared_store::Revision;

    use super::super::model::{Owner, Told};
    use super::*;

    fn name(text: &str) -> KeyName {
        KeyName::new(text).unwrap()
    }

    fn model(now: Instant) -> Model {
        let mut model = Model::new("nodes on http://127.0.0.1:2379".to_owned(), now);
        model.state = State::Synced;
        model.revision = Revision(12);
        model.refresh(["a", "b\x1b[31m", "c"].map(name).into_iter());
        let old = Some("{\"n\":0}".to_owned());
        model.tell(Told { at: now, kind: Kind::Modified, name: name("b\x1b[31m"), revision: Revision(12), old });
        model.owners = vec![Owner { lease: "72fd575ee128a18c".to_owned(), keys: 3, ttl: Some(899) }];
        model
    }

    fn look(name: &KeyName) -> Option<Shown> {
        let lease = Some("72fd575ee128a18c".to_owned());
        let value = format!("{{\"of\":\"{}\"}}", printable(name));
        Some(Shown { lease, own: &**name == "c", size: 9, revision: 12, create_revision: 3, value })
    }

    fn lines(model: &mut Model, now: Instant, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, model, now, &look)).unwrap();
        let buffer = terminal.backend().buffer();
        let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..height).map(|y| row(y).trim_end().to_owned()).collect()
    }

    fn line<'a>(lines: &'a [String], with: &str) -> &'a str {
        lines.iter().find(|line| line.contains(with)).unwrap_or_else(|| panic!("no {with} in {lines:#?}"))
    }

    #[test]
    fn one_screen_has_state_keys_owners_and_changes() {
        let now = Instant::now();
        for (width, height) in [(80, 24), (160, 50)] {
            let lines = lines(&mut model(now), now, width, height);
            assert_eq!(lines[1], "fresh: every change is shown");
            assert_eq!(lines[2], "3 keys  revision 12  0/s  1 in the last minute");
            assert!(line(&lines, ">a").contains("72fd575ee128a18c"), "{lines:#?}");
            assert!(line(&lines, " c ").contains("this"));
            line(&lines, "3 72fd575ee128a18c 14m");
            line(&lines, "1 owners: keys, lease, left");
            line(&lines, "~   0s b\\u001b[31m @12");
            assert!(lines.last().unwrap().contains("q quit"));
        }
    }

    #[test]
    fn an_outage_is_told_in_words_and_a_key_with_its_last_change() {
        let now = Instant::now();
        let mut model = model(now);
        model.state = State::Stale { since: now, cause: "connection refused".into() };
        model.selected = 1;
        model.over = Over::Key;
        let later = now + Duration::from_secs(75);
        let lines = lines(&mut model, later, 80, 24);
        assert_eq!(lines[1], "STALE for 75s: connection refused");
        line(&lines, "revision  12, created at 3");
        line(&lines, "changed 75s ago, at revision 12; before: {\"n\":0}");
        assert!(!lines.join("").contains('\x1b'));
    }

    #[test]
    fn a_screen_of_any_size_can_be_drawn() {
        let now = Instant::now();
        for (width, height) in [(1, 1), (10, 3), (20, 5), (400, 100)] {
            for over in [Over::Nothing, Over::Help, Over::Key] {
                let mut model = model(now);
                model.over = over;
                lines(&mut model, now, width, height);
            }
        }
    }
}
