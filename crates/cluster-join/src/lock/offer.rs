//! Handing a sticky lock from one host to another: it has exactly one owner at every point of
//! the log, the giver until the taker accepts.

use nines_proto::ctl::{ErrorKind, Value};

use super::grant::End;
use super::{Decided, Offer, Owner, Refusal, Table};

impl Table {
    /// Offers `owner`'s lock to the node `to`; offering it there again is the same offer.
    ///
    /// # Errors
    /// The lock is not `owner`'s.
    pub fn offer(&mut self, name: &str, owner: &Owner, to: u64) -> Result<Value, Refusal> {
        let number = self.generation + 1;
        let grant = self.held_grant(name, owner)?;
        if let Some(offer) = grant.offer.filter(|offer| offer.to == to) {
            return Ok(Value::Offered { offer: offer.number });
        }
        grant.offer = Some(Offer { to, number });
        self.generation = number;
        Ok(Value::Offered { offer: number })
    }

    /// Makes `owner` the owner of the lock offered to it under `number`.
    ///
    /// # Errors
    /// There is no such offer any more, or `owner` holds the resource by itself.
    pub fn accept(
        &mut self,
        name: &str,
        owner: &Owner,
        number: u64,
        time: u64,
        decided: &mut Vec<Decided>,
    ) -> Result<Value, Refusal> {
        let gone = || Refusal::new(ErrorKind::NotHeld, format!("{name}: offer {number} is not open"));
        let next = self.generation + 1;
        let resource = self.resources.get_mut(name).ok_or_else(gone)?;
        if let Some(grant) = resource.granted_to(owner) {
            if grant.accepted == Some(number) {
                let generation = grant.generation;
                return Ok(self.told(name, generation));
            }
            return Err(Refusal::new(ErrorKind::Invalid, format!("{name}: held by this host already")));
        }
        let offered = Offer { to: owner.node, number };
        let grant = resource.granted.iter_mut().find(|grant| grant.offer == Some(offered)).ok_or_else(gone)?;
        let giver = std::mem::replace(&mut grant.owner, owner.clone());
        (grant.generation, grant.since, grant.seq) = (next, time, 0);
        (grant.before, grant.offer, grant.accepted) = (None, None, Some(number));
        self.generation = next;
        let mode = grant.mode;
        // The taker may have been waiting for it in the ordinary way; in the same mode that wish
        // is fulfilled, in another one it is answered as if it had come now.
        let waited: Vec<(u64, _)> =
            resource.waiting.iter().filter(|wait| wait.owner == *owner).map(|wait| (wait.seq, wait.mode)).collect();
        resource.waiting.retain(|wait| wait.owner != *owner);
        for (seq, wanted) in waited {
            self.count -= 1;
            let call = super::CallId { node: owner.node, seq };
            let result = if wanted == mode {
                Ok(self.told(name, next))
            } else {
                let message = format!("{name}: held in {mode} already: convert it to {wanted}");
                Err(Refusal::new(ErrorKind::Invalid, message))
            };
            decided.push(Decided { call, result });
        }
        // The giver's place goes with the lock, and so does a conversion it still waited for.
        self.release(name, &giver, End::Given, decided);
        // The index of owners follows a lock that changed hands.
        self.disown(&giver, name);
        self.owned.entry(owner.clone()).or_default().insert(name.to_owned());
        let told = self.told(name, next);
        self.serve(name, time, decided);
        Ok(told)
    }

    /// Withdraws an offer.
    ///
    /// # Errors
    /// It was accepted, withdrawn or replaced before.
    pub fn retract(&mut self, name: &str, owner: &Owner, number: u64) -> Result<Value, Refusal> {
        let grant = self.held_grant(name, owner)?;
        match grant.offer {
            Some(offer) if offer.number == number => grant.offer = None,
            _ => return Err(Refusal::new(ErrorKind::NotHeld, format!("{name}: offer {number} is not open"))),
        }
        Ok(Value::Done {})
    }

    fn held_grant(&mut self, name: &str, owner: &Owner) -> Result<&mut super::Grant, Refusal> {
        self.resources
            .get_mut(name)
            .and_then(|resource| resource.granted_to(owner))
            .ok_or_else(|| Refusal::new(ErrorKind::NotHeld, format!("{name}: not held by the caller")))
    }
}
