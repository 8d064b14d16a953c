//! Every backend passes every case of the contract.

mod memory {
    shared_store_core::conformance!(shared_store_core::MemoryBackend::new());
}

/// Around another backend it is still a backend.
mod measured {
    use std::sync::Arc;

    use async_trait::async_trait;
    use shared_store_core::backend::conformance::Harness;
    use shared_store_core::metrics::MeasuredBackend;
    use shared_store_core::{Backend, MemoryBackend, Prefix, Revision};

    struct Measured(MemoryBackend);

    #[async_trait]
    impl Harness for Measured {
        fn backend(&self) -> Arc<dyn Backend> {
            let prefix = Prefix::new("nodes").expect("it is a prefix");
            Arc::new(MeasuredBackend::new(Arc::new(self.0.clone()), &prefix))
        }

        async fn compact(&self, revision: Revision) {
            self.0.compact(revision).expect("the case names a revision it wrote");
        }
    }

    shared_store_core::conformance!(Measured(MemoryBackend::new()));
}

/// Around another backend, and with its watches cut into the smallest fragments, it is still a backend.
mod faulty {
    use std::sync::Arc;

    use async_trait::async_trait;
    use shared_store_core::backend::conformance::Harness;
    use shared_store_core::backend::faulty::Faulty;
    use shared_store_core::{Backend, MemoryBackend, Revision};

    struct Fragmented(MemoryBackend);

    #[async_trait]
    impl Harness for Fragmented {
        fn backend(&self) -> Arc<dyn Backend> {
            let faulty = Faulty::new(self.0.clone());
            faulty.fragment(1);
            Arc::new(faulty)
        }

        async fn compact(&self, revision: Revision) {
            self.0.compact(revision).expect("the case names a revision it wrote");
        }
    }

    shared_store_core::conformance!(Fragmented(MemoryBackend::new()));
}

/// The kvstore in memory behind etcd's client and its network, and so again with every watch in fragments.
#[cfg(feature = "etcd")]
macro_rules! served {
    ($module:ident, $events:literal) => {
        mod $module {
            use std::sync::Arc;

            use async_trait::async_trait;
            use shared_store_core::backend::conformance::Harness;
            use shared_store_core::backend::etcd::served::ServedEtcd;
            use shared_store_core::{Backend, Revision};

            struct Served(ServedEtcd);

            #[async_trait]
            impl Harness for Served {
                fn backend(&self) -> Arc<dyn Backend> {
                    self.0.faults().fragment($events);
                    Arc::new(self.0.backend())
                }

                async fn compact(&self, revision: Revision) {
                    self.0.backend().compact(revision).await.expect("the case names a revision it wrote");
                }
            }

            shared_store_core::conformance!(Served(ServedEtcd::start().expect("a free port")));
        }
    };
}

#[cfg(feature = "etcd")]
served!(served, 0);
// With smaller ones a case would drop hundreds of watches that still receive: an HTTP/2 client closes a connection over
// which it gets too many frames for closed streams.
#[cfg(feature = "etcd")]
served!(served_in_fragments, 30);

/// Each case on an etcd of its own, which is ready in a tenth of a second and ends with the case.
#[cfg(feature = "etcd")]
macro_rules! etcd {
    ($module:ident, $version:ident) => {
        mod $module {
            use std::sync::Arc;

            use async_trait::async_trait;
            use shared_store_core::backend::conformance::Harness;
            use shared_store_core::{Backend, Revision};

            use crate::support::{Connect, EtcdServer, Version};

            struct Etcd(EtcdServer);

            #[async_trait]
            impl Harness for Etcd {
                fn backend(&self) -> Arc<dyn Backend> {
                    Arc::new(self.0.backend())
                }

                async fn compact(&self, revision: Revision) {
                    self.0.backend().compact(revision).await.expect("the case names a revision it wrote");
                }
            }

            shared_store_core::conformance!(Etcd(EtcdServer::start(Version::$version)));
        }
    };
}

#[cfg(feature = "etcd")]
etcd!(etcd_34, V34);
#[cfg(feature = "etcd")]
etcd!(etcd_35, V35);
