package lock

const holderEnv = "LOCK_TEST_HOLDER"

func holderProcess() {}
