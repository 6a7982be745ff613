import multiprocessing
import time

from nerveseg.launch.locking import locked


def enter_and_leave(file, log, rounds):
    for _ in range(rounds):
        with locked(file):
            with log.open("a") as stream:
                stream.write("in\n")
            time.sleep(0.002)
            with log.open("a") as stream:
                stream.write("out\n")


def test_one_process_at_a_time_and_nothing_is_left(tmp_path):
    file, log = tmp_path / "deep" / ".comparing", tmp_path / "log"
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=enter_and_leave, args=(file, log, 25)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert log.read_text().split() == ["in", "out"] * 100
    assert not file.exists()


def test_a_file_that_a_killed_process_left_is_taken_over(tmp_path):
    (tmp_path / ".comparing").touch()
    with locked(tmp_path / ".comparing"):
        assert (tmp_path / ".comparing").is_file()
    assert not (tmp_path / ".comparing").exists()
