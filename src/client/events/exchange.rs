//! Many questions in flight on one stream. When that breaks, those without an answer are asked again on the next one: each is such that
//! this does no harm.

use std::collections::BTreeMap;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use super::connection::{Gateways, PAUSE};
use super::error::{EventsError, is_passing};

/// A call with a stream of questions and a stream of answers.
pub(super) trait Exchange: Send + 'static {
    type Question: Clone + Send + Sync + 'static;
    type Answer: Send + Sync + 'static;

    /// Makes the call.
    fn open(
        channel: Channel,
        questions: ReceiverStream<Self::Question>,
    ) -> impl Future<Output = Result<Streaming<Self::Answer>, Status>> + Send;

    /// Tells the question which number it has.
    fn number(question: &mut Self::Question, number: u64);

    /// Which question it answers; the oldest one when it does not say.
    fn number_of(answer: &Self::Answer) -> Option<u64>;
}

/// Where questions are put. The stream lives until the last clone is gone and all are answered.
#[derive(Debug)]
pub(super) struct Asking<E: Exchange> {
    queue: mpsc::Sender<Waiting<E>>,
    gateways: Gateways,
}

impl<E: Exchange> Clone for Asking<E> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), gateways: self.gateways.clone() }
    }
}

#[derive(Debug)]
struct Waiting<E: Exchange> {
    question: E::Question,
    told: oneshot::Sender<Result<E::Answer, EventsError>>,
}

/// An answer that is to come.
#[derive(Debug)]
pub(super) struct Coming<T> {
    answer: oneshot::Receiver<Result<T, EventsError>>,
    gateways: Gateways,
}

impl<E: Exchange> Asking<E> {
    pub(super) fn new(gateways: &Gateways) -> Self {
        let (queue, questions) = mpsc::channel(IN_FLIGHT_MAX);
        tokio::spawn(run(gateways.clone(), questions));
        Self { queue, gateways: gateways.clone() }
    }

    /// Asks, once there is room; the answer comes later.
    pub(super) async fn ask(&self, question: E::Question) -> Coming<E::Answer> {
        let (told, answer) = oneshot::channel();
        // Where nobody takes it, nobody answers it either.
        let _nobody_takes_it = self.queue.send(Waiting { question, told }).await;
        Coming { answer, gateways: self.gateways.clone() }
    }
}

impl<T> Coming<T> {
    pub(super) async fn wait(self) -> Result<T, EventsError> {
        let after = self.gateways.patience();
        let late = |last: &str| EventsError::TimedOut { after, last: last.to_owned() };
        let answer = timeout(after, self.answer).await.map_err(|_| late("nobody answered"))?;
        answer.map_err(|_| late("the stream has ended"))?
    }
}

async fn run<E: Exchange>(gateways: Gateways, mut queue: mpsc::Receiver<Waiting<E>>) {
    let mut unanswered: BTreeMap<u64, Waiting<E>> = BTreeMap::new();
    let mut last = 0;
    loop {
        if unanswered.is_empty() {
            match queue.recv().await {
                Some(waiting) => drop(take(waiting, &mut last, &mut unanswered)),
                None => return,
            }
        }
        unanswered.retain(|_, waiting| !waiting.told.is_closed());
        match stream(&gateways, &mut queue, &mut last, &mut unanswered).await {
            Ok(()) => return,
            Err(Some(status)) if !is_passing(&status) => {
                for waiting in std::mem::take(&mut unanswered).into_values() {
                    let _nobody_waits = waiting.told.send(Err(EventsError::of(&status)));
                }
            }
            Err(why) => {
                tracing::debug!(?why, "a stream is made anew");
                gateways.turn();
                sleep(PAUSE).await;
            }
        }
    }
}

/// One stream, until it breaks, or there is nothing to be asked any more.
async fn stream<E: Exchange>(
    gateways: &Gateways,
    queue: &mut mpsc::Receiver<Waiting<E>>,
    last: &mut u64,
    unanswered: &mut BTreeMap<u64, Waiting<E>>,
) -> Result<(), Option<Status>> {
    let channel = gateways.channel().await.map_err(|_| None)?;
    let (sender, questions) = mpsc::channel(IN_FLIGHT_MAX);
    for waiting in unanswered.values() {
        sender.send(waiting.question.clone()).await.map_err(|_| None)?;
    }
    let mut answers = E::open(channel, ReceiverStream::new(questions)).await.map_err(Some)?;
    let mut is_open = true;
    while is_open || !unanswered.is_empty() {
        tokio::select! {
            waiting = queue.recv(), if is_open && unanswered.len() < IN_FLIGHT_MAX => match waiting {
                Some(waiting) => {
                    let question = take(waiting, last, unanswered);
                    sender.send(question).await.map_err(|_| None)?;
                }
                None => is_open = false,
            },
            answer = answers.message() => {
                let answer = answer.map_err(Some)?.ok_or(None)?;
                let number = E::number_of(&answer).or_else(|| unanswered.keys().next().copied());
                if let Some(waiting) = number.and_then(|number| unanswered.remove(&number)) {
                    let _nobody_waits = waiting.told.send(Ok(answer));
                }
            }
        }
    }
    Ok(())
}

/// Numbers a question; as it is to be asked.
fn take<E: Exchange>(
    mut waiting: Waiting<E>,
    last: &mut u64,
    into: &mut BTreeMap<u64, Waiting<E>>,
) -> E::Question {
    *last += 1;
    E::number(&mut waiting.question, *last);
    let question = waiting.question.clone();
    into.insert(*last, waiting);
    question
}

/// Questions without an answer: who asks more waits.
const IN_FLIGHT_MAX: usize = 1024;
