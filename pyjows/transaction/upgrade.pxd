from pyjows.transaction.info cimport TransactionInfo


cdef class TransactionUpgrade(TransactionInfo):

    cdef object _pending_opening(self)
