//! A map of a handful of keys, such as nodes and groups: looking at each of them is quicker than a search tree.

/// Keys and their values, in the order in which they came.
#[derive(Clone, Debug)]
pub(super) struct Few<K, V> {
    keys: Vec<K>,
    values: Vec<V>,
}

impl<K, V> Default for Few<K, V> {
    fn default() -> Self {
        Self { keys: Vec::new(), values: Vec::new() }
    }
}

impl<K: Copy + Eq, V> Few<K, V> {
    /// The value of `key`.
    pub(super) fn get(&self, key: K) -> Option<&V> {
        self.place(key).map(|place| &self.values[place])
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self, key: K) -> Option<&mut V> {
        self.place(key).map(|place| &mut self.values[place])
    }

    /// The value of `key`; the default one if it had none.
    pub(super) fn or_default(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        let place = self.place(key).unwrap_or_else(|| {
            self.keys.push(key);
            self.values.push(V::default());
            self.keys.len() - 1
        });
        &mut self.values[place]
    }

    /// Gives `key` a value; the one that it had is gone.
    pub(super) fn insert(&mut self, key: K, value: V) {
        match self.place(key) {
            Some(place) => self.values[place] = value,
            None => {
                self.keys.push(key);
                self.values.push(value);
            }
        }
    }

    /// Every key and its value.
    pub(super) fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        self.keys.iter().copied().zip(&self.values)
    }

    /// The same, values to be changed.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (K, &mut V)> {
        self.keys.iter().copied().zip(&mut self.values)
    }

    /// Every value.
    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.values.iter()
    }

    fn place(&self, key: K) -> Option<usize> {
        self.keys.iter().position(|known| *known == key)
    }
}

#[cfg(test)]
mod tests {
    use super::Few;

    #[test]
    fn a_key_has_the_value_that_it_was_given_last() {
        let mut few = Few::default();
        *few.or_default(7) += 1;
        *few.or_default(7) += 1;
        few.insert(3, 10);
        few.insert(7, 5);
        assert_eq!((few.get(7), few.get(3), few.get(4)), (Some(&5), Some(&10), None));
        assert_eq!(few.iter().collect::<Vec<_>>(), [(7, &5), (3, &10)]);
    }
}
